"""One thread of torch for what consists of many small operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_ONE_AT_A_TIME = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute on one core of a CPU.

    Its threads wait for each other after every operation, and spin meanwhile. Where another process has one of their
    cores, as while a job starts, each of those waits lasts until the kernel gives it back: making an encoder of
    MiniLM-L6 took 3.3 to 4.2 s with two threads on two cores, one of which was busy, and 0.65 s with one.

    A thread of the caller's that uses torch for the first time meanwhile stays with one core, too.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
