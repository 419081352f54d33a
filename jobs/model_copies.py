"""Copies of models on this machine's disk: each is made once, by the first process that needs it, and is whole."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.corpus.storage_errors import DISK_FULL
from strideformer.errors import StrideformerError

# In a copy, the size of each of its other files; written last.
COMPLETE = "complete"


def own_folder() -> Path:
    """Where this user's models are kept on this machine, made if it is not there.

    Raises:
        StrideformerError: another user was there first.
    """
    folder = Path(tempfile.gettempdir()) / f"strideformer-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StrideformerError(f"{folder} belongs to another user: remove it, or set TMPDIR to another folder")
    return folder


def make_copy(target: Path, write: Callable[[Path], None]) -> None:
    """Make a copy of a model, unless it is there.

    Args:
        target: in ``own_folder()``; its name stands for one content for ever.
        write: writes the copy's files into the folder that it is given; several processes may do so at once, of which
            one gives the copy.

    Raises:
        StrideformerError: the disk refuses.
    """
    if is_complete(target):
        return
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as staging:
            staged = Path(staging) / "model"
            staged.mkdir()
            write(staged)
            sizes = {file.relative_to(staged).as_posix(): file.stat().st_size for file in _files_below(staged)}
            (staged / COMPLETE).write_text(json.dumps(sizes), encoding="utf-8")
            _put_in_place(staged, target)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise  # of what is copied, perhaps
        raise StrideformerError(
            f"no space is left for the model in {target.parent}: free some, or set TMPDIR to another folder"
        ) from error


def is_complete(copy: Path) -> bool:
    """Whether a copy of a model is there with all that was written: what clears old files may have left a part."""
    try:
        sizes = json.loads((copy / COMPLETE).read_text(encoding="utf-8"))
        return all((copy / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _put_in_place(staged: Path, target: Path) -> None:
    """Rename a copy of a model to its name, unless another process was quicker; what is left of an earlier one goes."""
    try:
        with (target.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_complete(target):
                return
            if target.exists():
                target.rename(staged.parent / "incomplete")
            staged.rename(target)
    except OSError as error:
        raise StrideformerError(f"cannot write the model to {target}: {error}") from error


def _files_below(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())
