from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

from jobs.guard.attempts import HASTY_ATTEMPTS, MOST_ATTEMPTS, START_ATTEMPTS, Attempts
from jobs.guard.stage import Guard, GuardedActor, guarded_actor, guarded_task, this_actor
from strideformer.errors import StrideformerError
from tests.jobs.guard.stages_for_tests import EXIT, RAISE, Fragile
from tests.jobs.guard.test_isolation import documents


class LocalGuard(Guard):
    """A guard whose attempts are an object of this process."""

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self.attempts, name)(*arguments)

    def tell(self, name: str, *arguments: Any) -> None:
        self.call(name, *arguments)


@pytest.fixture
def guard() -> LocalGuard:
    return LocalGuard(Attempts(), 30.0)


def test_a_first_attempt_runs_the_stage_as_it_is(guard: LocalGuard) -> None:
    actor = guarded_actor(Fragile)(guard, Fragile, ())
    assert type(actor).__name__ == "Fragile"
    assert actor(documents("a", "bc")).column("length").to_pylist() == [1, 2]
    assert guard.attempts.begin("Fragile", 4) == 1


def test_after_deaths_the_documents_run_one_by_one(guard: LocalGuard) -> None:
    for _ in range(HASTY_ATTEMPTS):
        guard.attempts.begin("Fragile", 4)
    result = guarded_task(guard, Fragile, ())(documents("a", EXIT))
    assert result.column("quarantine_reason").to_pylist() == [None, "crashed"]
    assert guard.attempts.begin("Fragile", 4) == 1


def test_an_exception_ends_an_attempt(guard: LocalGuard) -> None:
    with pytest.raises(ValueError, match="raised over"):
        guarded_task(guard, Fragile, ())(documents(RAISE))
    assert guard.attempts.begin("Fragile", 4) == 1


def test_attempts_are_bounded(guard: LocalGuard) -> None:
    for _ in range(MOST_ATTEMPTS):
        guard.attempts.begin("Fragile", 4)
    with pytest.raises(StrideformerError, match="shard 4 ended the process of Fragile 10 times"):
        guarded_task(guard, Fragile, ())(documents("a"))


class Built:
    """Remembers the thread that made it."""

    def __init__(self, fails: bool) -> None:
        self.thread = threading.current_thread()
        if fails:
            raise ValueError("no such model")


def test_an_actor_s_stage_is_built_on_a_thread_that_has_ended(guard: LocalGuard) -> None:
    """Or its OpenMP threads stay, and slow down those of the calls."""
    assert not GuardedActor(guard, Built, (False,)).stage.thread.is_alive()
    with pytest.raises(ValueError, match="no such model"):
        GuardedActor(guard, Built, (True,))


def test_starts_are_bounded(guard: LocalGuard) -> None:
    for _ in range(START_ATTEMPTS):
        guard.attempts.starting("Fragile", this_actor())
    with pytest.raises(StrideformerError, match="Fragile died 5 times while it started"):
        GuardedActor(guard, Fragile, ())


def test_a_task_is_given_a_way_of_its_own_to_isolate(guard: LocalGuard) -> None:
    def isolate(table: pa.Table, stage: Any, arguments: tuple[Any, ...], timeout: float | None) -> pa.Table:
        return table.append_column("isolated", pa.array([timeout]))

    for _ in range(HASTY_ATTEMPTS):
        guard.attempts.begin("Fragile", 4)
    assert guarded_task(guard, Fragile, (), isolate)(documents(EXIT)).column("isolated").to_pylist() == [30.0]
