"""How long a device computed, measured without making it wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of many stretches of work on one device.

    CUDA works on after a call has returned, so there a stretch lies between two events on the stream, which are read
    when the sum is asked for; on a CPU it is the time of the call.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done inside."""
        if self.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(torch.cuda.current_stream(self.device))
            yield
            end.record(torch.cuda.current_stream(self.device))
            self._events.append((start, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def take(self) -> float:
        """The seconds since the last call of this; on CUDA it waits for the device, so ask at the end of a shard."""
        synchronize(self.device)
        milliseconds: float = sum(start.elapsed_time(end) for start, end in self._events)
        seconds = self._seconds + milliseconds / 1000
        self._seconds, self._events = 0.0, []
        return seconds


def synchronize(device: torch.device) -> None:
    """Wait for what a device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
