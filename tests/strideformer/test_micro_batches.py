from __future__ import annotations

import numpy as np
import pytest
import torch

from strideformer.errors import StrideformerError
from strideformer.micro_batches import run_in_micro_batches


def test_a_row_that_never_fits_is_told() -> None:
    def run(start: int, end: int) -> None:
        raise torch.OutOfMemoryError("no")

    with pytest.raises(StrideformerError, match="a single chunk of length 7 does not fit"):
        run_in_micro_batches(np.array([7, 3]), 100, run)


def test_other_errors_are_not_taken_for_memory() -> None:
    def run(start: int, end: int) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_in_micro_batches(np.array([7, 3]), 100, run)


def test_micro_batches_cover_every_row_once_within_the_budget() -> None:
    lengths = -np.sort(-np.random.default_rng(0).integers(1, 50, 1000))
    seen: list[int] = []

    def run(start: int, end: int) -> None:
        assert end - start == 1 or (end - start) * lengths[start] <= 120
        seen.extend(range(start, end))

    assert run_in_micro_batches(lengths, 120, run) == 120
    assert seen == list(range(1000))


def test_the_budget_that_held_is_given_back() -> None:
    runs: list[int] = []

    def run(start: int, end: int) -> None:
        if end - start > 3:
            raise torch.OutOfMemoryError("no")
        runs.append(end - start)

    assert run_in_micro_batches(np.full(20, 10), 130, run) == 30
    assert sum(runs) == 20
