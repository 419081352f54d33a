from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, r2_score, root_mean_squared_error

from strideformer import resampling


def test_sums_are_of_as_many_documents_however_they_are_drawn() -> None:
    few = resampling.resampled_sums(np.eye(2), np.array([300, 100]), 500, seed=0)
    one_each = np.repeat(np.eye(2), [300, 100], axis=0)
    many = resampling.resampled_sums(one_each, np.ones(400, np.int64), 500, seed=0)
    for sums in (few, many):
        assert (sums.sum(axis=1) == 400).all()
        assert sums[:, 0].mean() == pytest.approx(300, abs=2)
        assert sums[:, 0].std() == pytest.approx(np.sqrt(400 * 0.75 * 0.25), rel=0.1)


def test_memory_is_bounded_without_changing_the_number_of_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "WEIGHTS_AT_ONCE", 20)
    sums = resampling.resampled_sums(np.ones((7, 1)), np.ones(7, np.int64), 11, seed=0)
    assert (sums == 7).all()
    assert sums.shape == (11, 1)


def test_label_statistics_of_the_whole_sample_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, given = generator.integers(5, size=80), generator.integers(5, size=80)
    masks = (resampling.one_hot(truth, 6), resampling.one_hot(given, 6))
    sums = np.asarray(resampling.label_contributions(*masks).sum(axis=0)).reshape(1, -1)
    found = resampling.label_statistics(sums, 80)
    assert found["accuracy"][0] == pytest.approx((truth == given).mean())
    for average in ("micro", "macro", "weighted"):
        assert found[f"f1_{average}"][0] == pytest.approx(f1_score(truth, given, average=average))
    assert found["f1_by_label"][0, :5] == pytest.approx(f1_score(truth, given, average=None))
    assert np.isnan(found["f1_by_label"][0, 5]), "it is neither true nor given"


def test_documents_without_any_label_are_right_when_none_is_given() -> None:
    truth = csr_array(np.array([[0, 0], [0, 0]]))
    given = csr_array(np.array([[0, 0], [0, 1]]))
    sums = np.asarray(resampling.label_contributions(truth, given).sum(axis=0)).reshape(1, -1)
    found = resampling.label_statistics(sums, 2)
    assert found["accuracy"][0] == 0.5
    assert found["f1_macro"][0] == 0


def test_value_statistics_of_the_whole_sample_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth = 1e6 + generator.normal(size=(50, 2))
    given = truth + generator.normal(size=(50, 2)) * 0.3
    sums = resampling.value_contributions(truth, given).sum(axis=0, keepdims=True)
    found = resampling.value_statistics(sums, 50)
    assert found["mae"][0] == pytest.approx(mean_absolute_error(truth, given))
    assert found["rmse"][0] == pytest.approx(root_mean_squared_error(truth, given))
    assert found["r2"][0] == pytest.approx(r2_score(truth, given))
    correlations = [np.corrcoef(truth[:, i], given[:, i])[0, 1] for i in range(2)]
    assert found["pearson"][0] == pytest.approx(np.mean(correlations))


def test_values_that_do_not_differ_have_no_variance_to_explain() -> None:
    """Of means of squares less squares of means, rounding leaves some 1e-17 to divide by."""
    truth = np.repeat([[0.1], [0.7], [0.4]], [6, 2, 1], axis=0)
    given = np.repeat([[0.3], [0.6], [0.2]], [6, 1, 2], axis=0)
    contributions = resampling.value_contributions(truth, given)
    same, same_given = np.zeros(9), np.zeros(9)
    same[[0, 2]], same_given[[6, 0]] = [4, 5], [0, 9]
    found = resampling.value_statistics(np.stack([same, same_given, np.ones(9)]) @ contributions, 9)
    assert np.isnan(found["r2"]).tolist() == np.isnan(found["pearson"]).tolist() == [True, True, False]
    varied = np.zeros(9)
    varied[[5, 6]] = [5, 4]
    same_given_alone = resampling.value_contributions(truth, np.full((9, 1), 0.3))
    found = resampling.value_statistics(varied[None] @ same_given_alone, 9)
    assert found["r2"][0] == pytest.approx(r2_score(np.repeat([0.1, 0.7], [5, 4]), np.full(9, 0.3)))
    assert np.isnan(found["pearson"]).all()


def test_rank_correlations_of_weighted_documents_are_those_of_as_many_documents() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(6, size=(40, 2)).astype(float)  # with ties
    given = np.round(truth + generator.normal(size=(40, 2)), 1)
    weights = generator.integers(3, size=(5, 40))
    found = resampling.rank_correlations(truth, given, weights)
    for row, correlation in zip(weights, found, strict=True):
        drawn = np.repeat(np.arange(40), row)
        each = [spearmanr(truth[drawn, target], given[drawn, target]).statistic for target in range(2)]
        assert correlation == pytest.approx(np.mean(each))
    assert np.isnan(resampling.rank_correlations(np.ones((3, 1)), np.ones((3, 1)), np.ones((1, 3)))).all()


def test_resampled_rank_correlations_are_of_the_same_documents_as_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "WEIGHTS_AT_ONCE", 20)
    truth = np.array([[0.0], [1.0], [2.0]])
    given = np.array([[0.0], [2.0], [1.0]])
    drawn = resampling.resampled_sums(np.eye(3), np.ones(3, np.int64), 13, seed=4)
    found = resampling.resampled_rank_correlations(truth, given, 13, seed=4)
    np.testing.assert_allclose(found, resampling.rank_correlations(truth, given, drawn))


def test_intervals_leave_out_what_is_not_finite() -> None:
    values = np.append(np.arange(101.0), np.nan)
    assert resampling.percentile_interval(values) == pytest.approx((2.5, 97.5))
    assert np.isnan(resampling.percentile_interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(("right", "number"), [(20, 20), (0, 7), (1, 1), (3, 40)])
def test_wilsons_interval_is_that_of_scipy(right: int, number: int) -> None:
    expected = binomtest(right, number).proportion_ci(method="wilson")
    assert resampling.wilson_interval(right / number, number) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_wilsons_interval_of_no_mistake_ends_at_the_share(share: float) -> None:
    """Rounding had 0.9999999999999998 as the end for 60 documents."""
    for number in range(1, 200):
        low, high = resampling.wilson_interval(share, number)
        assert low <= share <= high
