from __future__ import annotations

import numpy as np
import pytest

from jobs.reporting.extremes import Smallest


@pytest.mark.parametrize("most", [0, 1, 5, 1000])
def test_the_smallest_of_all_are_kept_and_of_equal_ones_the_first(most: int) -> None:
    values = np.random.default_rng(0).integers(0, 40, (6, 50)) / 40
    total = Smallest(most)
    for shard in range(6):
        part = Smallest(most)
        part.add(values[shard, :20], shard, 0)
        part.add(values[shard, 20:], shard, 20)
        total.merge(part)
    expected = sorted((value, shard, row) for shard in range(6) for row, value in enumerate(values[shard]))[:most]
    assert total.in_order() == [(shard, row) for _, shard, row in expected]
    assert sorted((shard, row) for shard, rows in total.places().items() for row in rows) == sorted(total.in_order())


def test_what_is_not_finite_is_not_small() -> None:
    total = Smallest(3)
    total.add(np.array([np.nan, 0.5, -np.inf]), 0, 0)
    assert total.in_order() == [(0, 1)]
