from __future__ import annotations

from datetime import timedelta

import accelerate
import pytest

from jobs.training import run


def test_other_processes_wait_as_long_as_the_first_may_embed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[timedelta] = []

    class State:
        def __init__(self, cpu: bool, timeout: timedelta) -> None:
            waited.append(timeout)

        def wait_for_everyone(self) -> None:
            pass

    monkeypatch.setattr(accelerate, "PartialState", State)
    run._wait_for_everyone(use_cpu=True)
    assert not waited, "a process alone has nobody to wait for"
    monkeypatch.setenv("WORLD_SIZE", "2")
    run._wait_for_everyone(use_cpu=True)
    assert waited == [run.LONGEST_WAIT]
    assert waited[0] > timedelta(days=1)
