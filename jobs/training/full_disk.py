"""A disk that is full while a model is trained, which every library tells in its own way."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from jobs.corpus.storage_errors import DISK_FULL, storage_error
from jobs.sharded_job import RESUME, JobFailedError

# safetensors gives the number in its words alone; torch, whose files are written by C++, none at all.
NUMBERS = tuple(f"(os error {number})" for number in DISK_FULL)
OF_TORCH = ("unexpected pos", "PytorchStreamWriter failed", "iostream error")


@contextmanager
def full_disk_told(output: str, remedy: str = RESUME) -> Iterator[None]:
    """Tell of a disk on which the folder of a run can have no more.

    Args:
        output: the folder.
        remedy: what to do once there is space.

    Raises:
        JobFailedError: something in the block failed for that.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_full(error, Path(output)):
            raise
        told = storage_error(OSError(errno.ENOSPC, ""), output)
        raise JobFailedError(f"{told}; {remedy}") from error


def _is_full(error: Exception, output: Path) -> bool:
    """Whether an exception says that there is no space for the folder."""
    if isinstance(error, OSError):
        elsewhere = error.filename is not None and output.absolute() not in Path(error.filename).absolute().parents
        return error.errno in DISK_FULL and not elsewhere
    return any(sign in str(error) for sign in (NUMBERS if isinstance(error, SafetensorError) else OF_TORCH))
