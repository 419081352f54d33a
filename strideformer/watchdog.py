"""A watchdog over work that may hang in native code: the process ends when nothing progresses for too long."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

_REARM_SECONDS = 1.0
_limit: float | None = None
_armed = 0.0


@contextmanager
def watchdog(limit: float | None) -> Iterator[None]:
    """End this process with exit status 1 if `progressed` is not called for ``limit`` seconds in the block.

    The timer is `faulthandler`'s: a thread of the interpreter that needs no global lock, so that native code
    which holds it for ever is ended too. It writes where every thread was to stderr first.

    Args:
        limit: seconds; None for no watch.
    """
    global _limit
    _limit = limit
    if limit is not None:
        _arm(limit)
    try:
        yield
    finally:
        _limit = None
        if limit is not None:
            faulthandler.cancel_dump_traceback_later()


def progressed() -> None:
    """Tell the watchdog, if there is one, that a micro-batch or a group of texts is done; from any thread."""
    limit = _limit
    if limit is not None and time.monotonic() - _armed > _REARM_SECONDS:
        _arm(limit)


def _arm(limit: float) -> None:
    global _armed
    _armed = time.monotonic()
    # 2, not sys.stderr: what a worker or a test puts in its place may have no file descriptor to write to.
    faulthandler.dump_traceback_later(limit, exit=True, file=2)
