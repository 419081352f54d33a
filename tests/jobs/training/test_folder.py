from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.training.folder import TrainingFolder
from strideformer.errors import StrideformerError

BEGIN = """
import sys
from jobs.training.folder import TrainingFolder
with TrainingFolder(sys.argv[1]) as folder:
    folder.begin(True, {"settings": {}})
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(output: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun a run and goes on with it."""
    command = [sys.executable, "-c", BEGIN, str(output)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_has_one_process_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "model"
    with another_run(output) as process, TrainingFolder(str(output)) as folder:
        told = f"model is being written by process {process.pid} on {platform.node()}, which trains there: wait for"
        with pytest.raises(StrideformerError, match=told):
            folder.hold()
        with pytest.raises(StrideformerError, match=told):
            folder.begin(True, {"settings": {}})


def test_a_run_that_was_killed_does_not_stand_in_the_way(tmp_path: Path) -> None:
    output = tmp_path / "model"
    with another_run(output) as process:
        process.kill()
        process.wait()
        with TrainingFolder(str(output)) as folder:
            folder.hold()
            folder.begin(True, {"settings": {}})
            assert str(os.getpid()) in (output / "_training" / "lock").read_text()


def test_a_run_that_failed_does_not_stand_in_the_way_in_its_own_process(tmp_path: Path) -> None:
    output = str(tmp_path / "model")
    with TrainingFolder(output) as failed:
        failed.begin(False, {"settings": {}})
        with pytest.raises(StrideformerError, match="is being written by process"):
            TrainingFolder(output).hold()
    with TrainingFolder(output) as folder:
        folder.begin(True, {"settings": {}})


def test_nothing_is_made_before_a_run_begins_and_nothing_left_once_it_is_finished(tmp_path: Path) -> None:
    with TrainingFolder(str(tmp_path / "model")) as folder:
        folder.hold()
        assert not folder.output.exists()
        folder.begin(False, {"settings": {}})
        folder.finish({})
        assert [file.name for file in folder.output.iterdir()] == ["training.json"]


def test_a_file_system_without_locks_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    with another_run(tmp_path / "model"), TrainingFolder(str(tmp_path / "model")) as folder:
        monkeypatch.setattr("jobs.training.lock.fcntl.flock", none)
        folder.begin(True, {"settings": {}})
