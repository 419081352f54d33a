from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Handlers run last first, so those that are registered before stand for what C++ does after all of Python's.
PROGRAM = """
import atexit, time
atexit.register(time.sleep, {hangs})
from jobs.guard import exit
from jobs.guard.attempts import Attempts
from jobs.guard.stage import guarded_actor, guarded_task
from tests.jobs.guard.stages_for_tests import Fragile
from tests.jobs.guard.test_isolation import documents
from tests.jobs.guard.test_stage import LocalGuard

exit.SECONDS_TO_EXIT = {seconds}
{stage}
"""
ACTOR = "guarded_actor(Fragile)(LocalGuard(Attempts(), None), Fragile, ())"
TASK = "guarded_task(LocalGuard(Attempts(), None), Fragile, ())(documents('a'))"


@pytest.mark.parametrize("stage", [ACTOR, TASK])
def test_a_worker_that_hangs_at_its_exit_is_ended(stage: str) -> None:
    assert run(PROGRAM.format(stage=stage, hangs=600, seconds=1)) == -signal.SIGALRM


def test_a_worker_that_exits_exits_well() -> None:
    assert run(PROGRAM.format(stage=ACTOR, hangs=0, seconds=100)) == 0


def run(program: str) -> int:
    return subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode
