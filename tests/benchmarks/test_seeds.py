from __future__ import annotations

import pytest

from tests.benchmarks.seeds import summarized


def test_figures_are_means_with_their_spread() -> None:
    found = summarized([{"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.7, "loss": 2.0, "extra": 1.0}])
    assert found == {"accuracy": pytest.approx((0.6, 0.02**0.5)), "loss": pytest.approx((1.5, 0.5**0.5))}


def test_one_seed_has_no_spread() -> None:
    assert summarized([{"accuracy": 0.5}]) == {"accuracy": (0.5, 0.0)}
