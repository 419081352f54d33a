from __future__ import annotations

import pytest
import torch

from strideformer.token_budget import BUDGETS, fastest_budget


class Device:
    """A device of which the speed with each budget is known, and a clock that its work moves on."""

    def __init__(self, rates: dict[int, float], out_of_memory_from: int = 1 << 30) -> None:
        self.rates = rates
        self.out_of_memory_from = out_of_memory_from
        self.now = 0.0
        self.calls: list[int] = []

    def __call__(self, budget: int) -> float:
        if budget >= self.out_of_memory_from:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls.append(budget)
        # the first run with a budget is slow
        rate = self.rates[budget] / (1 if self.calls.count(budget) > 1 else 10)
        self.now += budget / rate
        return rate

    def search(self) -> int | None:
        return fastest_budget(self, tuple(self.rates), clock=lambda: self.now)


def test_the_fastest_is_kept() -> None:
    device = Device(dict(zip(BUDGETS, (4e6, 7e6, 9e6, 8e6, 6e6), strict=True)))
    assert device.search() == 16_384
    assert set(device.calls) == set(BUDGETS)
    assert device.now < 2


def test_a_larger_one_must_be_worth_its_memory() -> None:
    assert Device({4096: 1e6, 8192: 1.01e6, 16_384: 1.015e6}).search() == 4096
    assert Device({4096: 1e6, 8192: 1.01e6, 16_384: 1.05e6}).search() == 16_384


def test_out_of_memory_ends_the_search() -> None:
    device = Device({4096: 1e6, 8192: 2e6, 16_384: 4e6, 32_768: 8e6}, out_of_memory_from=16_384)
    assert device.search() == 8192
    assert Device({4096: 1e6}, out_of_memory_from=1).search() is None


def test_a_slow_device_is_not_kept_waiting() -> None:
    device = Device({4096: 2e4, 8192: 3e4, 16_384: 9e4})
    assert device.search() == 4096
    assert set(device.calls) == {4096}


def test_another_failure_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        fastest_budget(lambda budget: {}[budget])
