"""How long a device computed, measured without making it wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# From so many stretches on, those that the device has done are added up: events hold memory of the driver.
MOST_EVENTS = 256


class Stopwatch:
    """Adds up the seconds of many stretches of work on one device.

    CUDA works on after a call has returned, so there a stretch lies between two events on the stream, which are read
    when the sum is asked for, or once there are many; on a CPU it is the time of the call.
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
            if len(self._events) >= MOST_EVENTS:
                self._add_up_finished()
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def take(self) -> float:
        """The seconds since the last call of this; on CUDA it waits for the device, so ask at the end of a shard."""
        synchronize(self.device)
        self._add_up_finished()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _add_up_finished(self) -> None:
        """Of what the device has done, keep the seconds alone; they end in the order in which they began."""
        finished = 0
        while finished < len(self._events) and self._events[finished][1].query():
            start, end = self._events[finished]
            self._seconds += start.elapsed_time(end) / 1000
            finished += 1
        del self._events[:finished]


def synchronize(device: torch.device) -> None:
    """Wait for what a device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
