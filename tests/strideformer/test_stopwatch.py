from __future__ import annotations

import time

import pytest
import torch

from strideformer.stopwatch import MOST_EVENTS, Stopwatch


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_it_counts_what_runs_inside_and_starts_anew_when_read(kind: str) -> None:
    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    device = torch.device(kind)
    stopwatch = Stopwatch(device)
    matrix = torch.ones(512, 512, device=device)
    started = time.perf_counter()
    for _ in range(3):
        with stopwatch.running():
            matrix @ matrix
    taken = stopwatch.take()
    assert 0 < taken <= time.perf_counter() - started
    assert stopwatch.take() == 0


class LateEvent:
    """Stands in for a CUDA event where there is no GPU: the device is a hundred events behind, of a second each."""

    recorded = 0

    def __init__(self, enable_timing: bool) -> None:
        self.place = -1

    def record(self, stream: object) -> None:
        LateEvent.recorded += 1
        self.place = LateEvent.recorded

    def query(self) -> bool:
        return self.place <= LateEvent.recorded - 100

    def elapsed_time(self, end: LateEvent) -> float:
        return 1000.0 * (end.place - self.place)


def test_events_that_nobody_reads_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LateEvent, "recorded", 0)
    monkeypatch.setattr(torch.cuda, "Event", LateEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def wait(device: torch.device) -> None:
        LateEvent.recorded += 100

    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    stopwatch = Stopwatch(torch.device("cuda"))
    for _ in range(3 * MOST_EVENTS):
        with stopwatch.running():
            pass
        assert len(stopwatch._events) <= MOST_EVENTS
    assert stopwatch.take() == 3 * MOST_EVENTS
    assert stopwatch.take() == 0
