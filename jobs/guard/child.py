"""The process that may die: ``python -m jobs.guard.child READ_FD WRITE_FD`` runs one stage on what it is sent.

It is started by `jobs.guard.isolation` alone, which sends the stage (our own class and arguments, pickled) and
then tables (as Arrow streams), over pipes of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import sys
from pathlib import Path

from jobs.guard.frames import FAILED, READY, TABLE, from_stream, read_frame, to_stream, write_frame

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def expendable() -> None:
    """On Linux: end with the worker that waits for this process, and before all others when memory runs out."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


def main() -> None:
    expendable()
    read_from, write_to = (int(argument) for argument in sys.argv[1:3])
    with os.fdopen(read_from, "rb") as given, os.fdopen(write_to, "wb") as results:
        _, pickled = read_frame(given)
        stage_class, arguments = pickle.loads(pickled)  # noqa: S301 our own objects, from our own parent
        stage = stage_class(*arguments)
        write_frame(results, READY)
        while True:
            try:
                _, stream = read_frame(given)
            except EOFError:
                return
            try:
                payload = to_stream(stage(from_stream(stream)))
            except Exception as error:
                write_frame(results, FAILED, f"{type(error).__name__}: {error}".encode(errors="replace"))
            else:
                write_frame(results, TABLE, payload)


if __name__ == "__main__":
    main()
