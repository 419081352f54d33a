from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.reporting.histograms import MOST_BINS, GrowingHistogram, Lengths, bin_range, length_bins


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20), min_size=1, max_size=6),
    st.booleans(),
)
def test_any_values_are_counted_where_they_belong(batches: list[list[float]], by_parts: bool) -> None:
    histogram = GrowingHistogram()
    for batch in batches:
        values = np.array(batch, np.float32)
        if by_parts:
            part = GrowingHistogram()
            part.add(values)
            histogram.merge(part)
        else:
            histogram.add(values)
    values = np.array([value for batch in batches for value in batch], np.float64)
    assert histogram.number == len(values)
    assert len(histogram.counts) <= MOST_BINS
    if len(values):
        edges = histogram.edges
        expected = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
        assert histogram.counts.tolist() == expected
        assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_bins_are_narrow_where_the_values_are_close() -> None:
    histogram = GrowingHistogram()
    histogram.add(np.linspace(100, 101, 500))
    assert MOST_BINS // 4 <= len(histogram.counts) <= MOST_BINS


def test_values_that_are_not_finite_are_passed_over() -> None:
    histogram = GrowingHistogram()
    histogram.add(np.array([np.nan, np.inf, 1.0]))
    histogram.add(np.array([np.nan]))
    assert (histogram.number, histogram.total) == (1, 1.0)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 512, 513, 2**31, 2**39])
def test_a_length_is_in_the_range_of_its_bin(length: int) -> None:
    low, high = bin_range(int(length_bins(np.array([length]))[0]))
    assert low <= length <= high


def test_lengths_add_up() -> None:
    tokens, chunks = np.array([0, 1, 512, 513, 40_000]), np.array([1, 1, 2, 2, 128])
    truncated, scores = tokens > 30_000, np.array([0.5, 0.5, 0.6, 0.8, 1.0])
    whole, parts = Lengths(), Lengths()
    whole.add(tokens, chunks, truncated, scores)
    for start in (0, 2):
        part = Lengths()
        stop = start + 2 if start == 0 else 5
        part.add(tokens[start:stop], chunks[start:stop], truncated[start:stop], scores[start:stop])
        parts.merge(part)
    for found in (whole, parts):
        assert found.documents[[0, 1, 10, 11, 17]].tolist() == [1, 1, 1, 1, 1]
        assert found.by_chunks[[1, 2, 8]].tolist() == [2, 2, 1]
        assert found.truncated.sum() == found.truncated[17] == 1
        assert found.scored.sum() == pytest.approx(3.4)
        assert found.longest == 40_000


def test_quantiles_are_within_a_twentieth() -> None:
    tokens = np.random.default_rng(0).lognormal(8, 1.2, 10_000).astype(int) + 1
    found = Lengths()
    assert found.quantile(0.5) == 0
    found.add(tokens, tokens, tokens < 0, None)
    for share in (0.1, 0.5, 0.9):
        assert found.quantile(share) == pytest.approx(np.quantile(tokens, share), rel=0.05)
    assert found.quantile(1.0) <= found.longest == tokens.max()
