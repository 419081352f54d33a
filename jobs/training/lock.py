"""One run of training at a time in a folder: a lock of its process, which the kernel takes from a process that dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
from pathlib import Path
from typing import IO

from strideformer.errors import StrideformerError


class FolderLock:
    """A lock on a folder on this machine, or on one that several machines see, as far as its file system has locks.

    Args:
        file: that is locked, and says who holds it. It may go with its folder while it is held.
        folder: as errors name it.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self._held: IO[str] | None = None

    def take(self) -> None:
        """Hold the lock until ``release``; held already, or where the file system has no locks, this does nothing.

        Raises:
            StrideformerError: another process holds it.
        """
        if self._held is not None:
            return
        held = self.file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with held:
                raise StrideformerError(self._refusal(held)) from error
        except OSError:
            held.close()
            return
        self._held = held
        with contextlib.suppress(OSError):  # a full disk: who resumes there may have come to free it
            held.truncate(0)
            held.write(json.dumps({"host": platform.node(), "pid": os.getpid()}) + "\n")
            held.flush()

    def release(self) -> None:
        """Let the next one have it."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._held.close()
            self._held = None

    def _refusal(self, held: IO[str]) -> str:
        held.seek(0)
        try:
            owner = json.loads(held.read())
            who = f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has not said so yet
            who = "another process"
        return f"{self.folder} is being written by {who}, which trains there: wait for it to finish, or end it first"
