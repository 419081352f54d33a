"""A stage as Ray runs it: watched, and handled with care once its process has died over a shard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.guard.attempts import HASTY_ATTEMPTS, MOST_ATTEMPTS, START_ATTEMPTS
from jobs.guard.exit import end_if_exit_hangs
from jobs.guard.isolation import run_isolated
from strideformer.errors import StrideformerError
from strideformer.watchdog import watchdog

# (shard, stage, the arguments of its class, timeout) → what the stage makes of the shard, one document at a time.
Isolate = Callable[[pa.Table, Any, tuple[Any, ...], float | None], pa.Table]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guard:
    """What every guarded stage of a job shares.

    Attributes:
        attempts: handle of the `Attempts` actor.
        timeout: seconds without progress after which a stage's process is ended, and that one document may
            take by itself; None for ever.
    """

    attempts: Any
    timeout: float | None

    def call(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self.attempts, name).remote(*arguments))

    def tell(self, name: str, *arguments: Any) -> None:
        """As ``call``, without waiting for the answer."""
        getattr(self.attempts, name).remote(*arguments)


class _Guarded:
    """A shard goes through its stage as a whole, twice if need be. Whatever killed both processes may be a
    document, so the third attempt runs them one by one in a child process, which tells which.
    """

    guard: Guard
    stage_class: type
    arguments: tuple[Any, ...]
    isolate: Isolate = staticmethod(run_isolated)

    def run(self, stage: Any, documents: pa.Table) -> pa.Table:
        name = self.stage_class.__name__
        shard = int(documents.column("_shard" if "_shard" in documents.column_names else "shard")[0].as_py())
        attempt = self.guard.call("begin", name, shard)
        if attempt > MOST_ATTEMPTS:
            self.guard.tell("end", name, shard)
            raise StrideformerError(
                f"shard {shard} ended the process of {name} {MOST_ATTEMPTS} times: look at its nodes"
            )
        try:
            if attempt <= HASTY_ATTEMPTS:
                with watchdog(self.guard.timeout):
                    return stage(documents)
            logger.warning("shard %d: %s died %d times over it; one by one now", shard, name, attempt - 1)
            return self.isolate(documents, stage, self.arguments, self.guard.timeout)
        finally:  # not reached when the process is killed, which is what is counted
            self.guard.tell("end", name, shard)


class GuardedActor(_Guarded):
    """For actor pools: the stage is built once."""

    def __init__(self, guard: Guard, stage_class: type, arguments: tuple[Any, ...]) -> None:
        end_if_exit_hangs()
        self.guard, self.stage_class, self.arguments = guard, stage_class, arguments
        name = stage_class.__name__
        actor = this_actor()
        tries = guard.call("starting", name, actor)
        if tries > START_ATTEMPTS:
            raise StrideformerError(
                f"{name} died {START_ATTEMPTS} times while it started: is there memory for the model?"
            )
        # Ray Data calls actors on another thread than this. A stage built on this one would leave it OpenMP threads,
        # with which those of the calls are more than there are cores, so that libgomp sleeps at each of its barriers in
        # place of spinning: an encoder on two cores is slower by a tenth. A thread that ends frees its own.
        with ThreadPoolExecutor(max_workers=1) as thread:
            self.stage = thread.submit(stage_class, *arguments).result()
        guard.tell("ready", name, actor)

    def __call__(self, documents: pa.Table) -> pa.Table:
        return self.run(self.stage, documents)


class GuardedTask(_Guarded):
    """For tasks: the stage is built for each shard, and keeps what is costly for its process by itself."""

    def __init__(self, guard: Guard, stage_class: type, arguments: tuple[Any, ...]) -> None:
        self.guard, self.stage_class, self.arguments = guard, stage_class, arguments

    def __call__(self, documents: pa.Table) -> pa.Table:
        end_if_exit_hangs()
        return self.run(self.stage_class(*self.arguments), documents)


def this_actor() -> str:
    """The id of the Ray actor that this is, the same when Ray has started it again; empty outside of one."""
    import ray

    return str(ray.get_runtime_context().get_actor_id() or "") if ray.is_initialized() else ""


def guarded_actor(stage_class: type) -> type[GuardedActor]:
    """GuardedActor under the stage's own name, which is how Ray shows it to the user."""
    return type(stage_class.__name__, (GuardedActor,), {"__doc__": stage_class.__doc__})


def guarded_task(
    guard: Guard, stage_class: type, arguments: tuple[Any, ...], isolate: Isolate = run_isolated
) -> GuardedTask:
    """A GuardedTask that Ray shows under the stage's own name."""
    members = {"__doc__": stage_class.__doc__, "isolate": staticmethod(isolate)}
    named: type[GuardedTask] = type(stage_class.__name__, (GuardedTask,), members)
    return named(guard, stage_class, arguments)
