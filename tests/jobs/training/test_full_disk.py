from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import SafetensorError

from jobs import train_loop
from jobs.sharded_job import JobFailedError
from jobs.training.full_disk import full_disk_told


def test_a_full_disk_is_told_whichever_library_finds_it(tmp_path: Path) -> None:
    told = f"^{tmp_path}: no space is left on the disk: free some; the same command with --resume goes on$"
    with pytest.raises(JobFailedError, match=told), full_disk_told(str(tmp_path)):
        Path("/dev/full").write_text("a")


def test_a_loop_that_cannot_resume_says_what_to_do_instead(tmp_path: Path) -> None:
    told = "no space is left on the disk: free some; then train again, to another output$"
    with pytest.raises(JobFailedError, match=told), full_disk_told(str(tmp_path), train_loop.ANEW):
        Path("/dev/full").write_text("a")


@pytest.mark.parametrize(
    "error",
    [
        # As they came from a file system of a megabyte.
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 16448 vs 16336"),
        OSError(122, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_known_by_what_each_library_says(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(JobFailedError, match="no space is left"), full_disk_told(str(tmp_path)):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("out of memory"), SafetensorError("header too large"), OSError(28, "full", "/elsewhere")]
)
def test_what_has_another_cause_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, full_disk_told(str(tmp_path)):
        raise error
    assert raised.value is error
