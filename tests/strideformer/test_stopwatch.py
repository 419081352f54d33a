from __future__ import annotations

import time

import pytest
import torch

from strideformer.stopwatch import Stopwatch


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
