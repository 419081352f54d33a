from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from jobs.planning.estimate import Estimator, students_t
from jobs.planning.sample import SHARE_OF_EQUALS, Sample

POPULATION = 5000


def lengths() -> np.ndarray:
    """A few documents that are a thousand times as long as most."""
    return np.ceil(np.random.default_rng(5).lognormal(4, 1.8, POPULATION)).astype(np.int64)


def drawn(sizes: np.ndarray, draws: int, seed: int) -> tuple[Sample, np.ndarray]:
    """A sample as `draw_sample` makes it, and the documents that are in it."""
    chances = SHARE_OF_EQUALS / len(sizes) + (1 - SHARE_OF_EQUALS) * sizes / sizes.sum()
    chosen = np.random.default_rng(seed).choice(len(sizes), draws, p=chances / chances.sum())
    distinct, rows = np.unique(chosen, return_inverse=True)
    documents = pa.table({"number": distinct})
    return Sample(documents, rows[:, None], chances[chosen][:, None], len(sizes), whole=False), distinct


def test_what_goes_with_bytes_is_extrapolated_without_error() -> None:
    sizes = lengths()
    sample, documents = drawn(sizes, 100, seed=1)
    total = Estimator(sample).total(3 * sizes[documents] + 2)
    assert total.value == pytest.approx(3 * sizes.sum() + 2 * POPULATION, abs=1)
    assert total.high - total.low <= 2
    assert Estimator(sample).weights.sum() == pytest.approx(POPULATION)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    sizes = lengths()
    values = 1 + np.minimum(sizes // 254, 127)
    held = 0
    for seed in range(400):
        sample, documents = drawn(sizes, 200, seed)
        total = Estimator(sample).total(values[documents])
        held += total.low <= values.sum() <= total.high
    assert 0.90 <= held / 400 <= 0.99


def test_what_was_not_met_may_be_there_and_what_was_met_is() -> None:
    sizes = lengths()
    sample, documents = drawn(sizes, 200, seed=2)
    none = Estimator(sample).number(np.zeros(len(documents), bool))
    assert (none.value, none.low) == (0, 0)
    assert 0.02 * POPULATION < none.high < 0.04 * POPULATION
    every = Estimator(sample).number(np.ones(len(documents), bool))
    assert (every.value, every.high) == (POPULATION, POPULATION)
    one = np.zeros(len(documents), bool)
    one[3] = True
    assert 1 <= Estimator(sample).number(one).low <= Estimator(sample).number(one).high <= POPULATION


def test_quantiles_are_of_all_documents_and_not_of_the_sample() -> None:
    sizes = lengths()
    sample, documents = drawn(sizes, 2000, seed=3)
    median, p90 = Estimator(sample).quantiles(sizes[documents].astype(float), [0.5, 0.9])
    assert median == pytest.approx(np.quantile(sizes, 0.5), rel=0.15)
    assert p90 == pytest.approx(np.quantile(sizes, 0.9), rel=0.15)
    assert np.median(sizes[documents]) > 1.5 * median, "long documents are drawn more often"


def test_all_documents_are_counted() -> None:
    rows = np.arange(7)[:, None]
    sample = Sample(pa.table({"number": range(7)}), rows, np.full((7, 1), 1 / 7), 7, whole=True)
    total = Estimator(sample).total(np.arange(7))
    assert (total.value, total.low, total.high) == (21, 21, 21)
    assert Estimator(sample).quantiles(np.array([5.0, 1, np.nan, 3, 2, 4, np.nan]), [0.5, 1.0]) == [3, 5]


@pytest.mark.parametrize(("freedom", "exact"), [(20, 2.0860), (30, 2.0423), (198, 1.9720)])
def test_students_t(freedom: int, exact: float) -> None:
    assert students_t(freedom) == pytest.approx(exact, abs=1e-3)
