"""An end to worker processes that hang at their exit."""

from __future__ import annotations

import atexit
import signal
from functools import cache

# What a process may still do once its exit has begun: other exit handlers, Ray's farewell, freeing a GPU.
SECONDS_TO_EXIT = 60


@cache
def end_if_exit_hangs() -> None:
    """Have the kernel end this process if it is still there a minute after its exit began.

    At the exit of a worker Ray 2.60 destroys its C++ parts in an order in which a message that is still queued waits
    for ever for a lock that is gone (``CoreWorkerProcess::HandleAtExit``). One worker in twenty stayed so, with its
    memory and that of its GPU, for as long as the machine ran: Ray counts it as gone. By then the interpreter is gone
    as well, so neither Python nor `watchdog` can end it; SIGALRM, which nobody handles, does.
    """
    if hasattr(signal, "alarm"):  # not on Windows
        atexit.register(signal.alarm, SECONDS_TO_EXIT)
