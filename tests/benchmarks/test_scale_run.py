from __future__ import annotations

import pytest

from tests.benchmarks.scale_run import later_half


def test_the_rate_of_the_later_half_leaves_out_what_came_before() -> None:
    slow_start = [(0.0, 5), (100.0, 5), (101.0, 5), (102.0, 5)]
    assert later_half(slow_start) == pytest.approx(10 / 2)


def test_a_job_of_one_shard_has_no_later_half() -> None:
    assert later_half([(3.0, 7)]) == 0
