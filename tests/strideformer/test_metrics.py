from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from strideformer import metrics
from strideformer.errors import StrideformerError
from strideformer.metrics import Confusion, compare, evaluate
from strideformer.scored_documents import ScoredDocuments

NAMES = ("a", "b", "c", "never")


def single(
    truth: list[int] | np.ndarray, given: list[int] | np.ndarray, num_tokens: list[int] | None = None
) -> ScoredDocuments:
    given = np.asarray(given)
    scores = np.full((len(given), len(NAMES)), 0.1)
    scores[np.arange(len(given)), given] = 0.7
    tokens = None if num_tokens is None else np.asarray(num_tokens)
    return ScoredDocuments(NAMES, "single_label_classification", np.asarray(truth), given, scores, tokens)


def several(truth: np.ndarray, scores: np.ndarray) -> ScoredDocuments:
    names = [f"label{index}" for index in range(truth.shape[1])]
    return ScoredDocuments(names, "multi_label_classification", truth, scores >= 0.5, scores)


def regression(truth: np.ndarray, values: np.ndarray) -> ScoredDocuments:
    return ScoredDocuments(["y"], "regression", truth.reshape(-1, 1), values.reshape(-1, 1), values.reshape(-1, 1))


def test_single_label_figures_by_hand() -> None:
    found = evaluate(single([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]))
    figures = {name: figure.value for name, figure in found.figures.items()}
    assert figures["accuracy"] == figures["f1_micro"] == pytest.approx(4 / 6)
    # F1 of a: precision 1, recall 2/3; b: 1/2, 1/2; c: 1/2, 1; "never" is neither true nor given and does not count.
    f1 = [0.8, 0.5, 2 / 3]
    assert figures["f1_macro"] == pytest.approx(np.mean(f1))
    assert figures["f1_weighted"] == pytest.approx((3 * f1[0] + 2 * f1[1] + f1[2]) / 6)
    assert figures["log_loss"] == pytest.approx(-(4 * math.log(0.7) + 2 * math.log(0.1)) / 6)
    assert figures["expected_calibration_error"] == pytest.approx(0.7 - 4 / 6)
    assert found.confusion == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert [(row.support, row.given) for row in found.per_label] == [(3, 2), (2, 2), (1, 2), (0, 0)]
    assert [row.f1 for row in found.per_label] == pytest.approx([*f1, 0])


def test_of_many_labels_the_most_frequent_confusions_stand_for_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = single([0, 0, 0, 1, 1, 1, 1], [1, 2, 1, 1, 2, 2, 2])
    expected = [Confusion("b", "c", 3), Confusion("a", "b", 2), Confusion("a", "c", 1)]
    assert evaluate(documents).confusions == expected
    assert evaluate(documents).confusion is not None
    monkeypatch.setattr(metrics, "MOST_LABELS_OF_A_MATRIX", 3)
    monkeypatch.setattr(metrics, "CONFUSIONS", 2)
    found = evaluate(documents)
    assert found.confusion is None
    assert found.confusions == expected[:2]
    assert len(found.per_label) == 4


def test_lengths_fall_into_the_bucket_that_ends_with_them() -> None:
    documents = single([0, 1, 2, 0], [0, 1, 1, 0], [512, 513, 4096, 40_000])
    rows = evaluate(documents).by_length
    assert [(row.above, row.up_to, row.documents) for row in rows] == [(0, 512, 1), (512, 4096, 2), (32_768, None, 1)]
    assert [row.figures["accuracy"].value for row in rows] == [1.0, 0.5, 1.0]
    assert [row.up_to for row in evaluate(documents, length_buckets=[600]).by_length] == [600, None]


def test_documents_longer_than_was_read_have_a_row_of_their_own_and_are_in_no_other() -> None:
    """How long they are is not known: more than what was read, and so perhaps beyond the bucket that it falls in."""
    documents = single([0, 1, 1], [0, 2, 1], [10, 32_640, 32_638])
    cut = np.array([False, True, True])
    found = evaluate(replace(documents, truncated=cut))
    assert found.truncated is not None
    assert (found.truncated.above, found.truncated.up_to, found.truncated.documents) == (32_638, None, 2)
    assert found.truncated.figures["accuracy"].value == 0.5
    assert [(row.up_to, row.documents) for row in found.by_length] == [(512, 1)]
    assert evaluate(documents).truncated is None
    of_unknown_length = evaluate(replace(documents, truncated=cut, num_tokens=None)).truncated
    assert of_unknown_length is not None
    assert of_unknown_length.above == 0


def test_multi_label_figures_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, scores = generator.random((60, 5)) < 0.4, generator.random((60, 5))
    truth[:, 4] = False
    scores[:, 4] = 0.1
    figures = {name: figure.value for name, figure in evaluate(several(truth, scores)).figures.items()}
    given = scores >= 0.5
    assert figures["subset_accuracy"] == pytest.approx((truth == given).all(axis=1).mean())
    for average in ("micro", "weighted"):
        expected = sklearn_metrics.f1_score(truth, given, average=average, zero_division=0)
        assert figures[f"f1_{average}"] == pytest.approx(expected)
    each = sklearn_metrics.f1_score(truth[:, :4], given[:, :4], average=None)
    assert figures["f1_macro"] == pytest.approx(each.mean())
    losses = [sklearn_metrics.log_loss(truth[:, i], scores[:, i], labels=[0, 1]) for i in range(5)]
    assert figures["log_loss"] == pytest.approx(np.mean(losses))


def test_one_label_of_a_multi_label_model_is_scored_and_not_its_absence() -> None:
    """scikit-learn takes a single column for two classes."""
    truth = np.arange(100)[:, None] < 10
    never, twice = (
        several(truth, np.full((100, 1), 0.2)),
        several(truth, np.where(np.arange(100) < 2, 0.9, 0.2)[:, None]),
    )
    found = evaluate(never)
    figures = {name: (figure.value, figure.low, figure.high) for name, figure in found.figures.items()}
    assert [figures[f"f1_{average}"] for average in ("macro", "weighted", "micro")] == [(0, None, None)] * 3
    assert figures["subset_accuracy"][0] == 0.9
    assert [(row.precision, row.recall, row.f1, row.support, row.given) for row in found.per_label] == [
        (0, 0, 0, 10, 0)
    ]
    (row,) = evaluate(twice).per_label
    assert (row.precision, row.recall, row.f1, row.support, row.given) == (1, 0.2, pytest.approx(1 / 3), 10, 2)
    assert compare(twice, never).differences["f1_macro"].value == pytest.approx(1 / 3)


def test_documents_without_any_label_have_no_f1() -> None:
    found = evaluate(several(np.zeros((3, 2), bool), np.full((3, 2), 0.2))).figures
    assert found["subset_accuracy"].value == 1
    assert math.isnan(found["f1_macro"].value)


def test_regression_figures_by_hand() -> None:
    figures = evaluate(regression(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 3.0, 3.0]))).figures
    assert figures["mae"].value == 0.5
    assert figures["rmse"].value == pytest.approx(math.sqrt(0.5))
    assert figures["r2"].value == pytest.approx(1 - 2 / 5)
    assert figures["pearson"].value == pytest.approx(2 / math.sqrt(5))
    assert figures["spearman"].value == pytest.approx(2 / math.sqrt(5))
    assert figures["mae"].low is not None
    assert figures["mae"].low < 0.5
    constant = evaluate(regression(np.ones(3), np.array([1.0, 2.0, 3.0]))).figures
    assert math.isnan(constant["pearson"].value)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution() -> None:
    truth = np.zeros(400, int)
    given = np.repeat([0, 1], [320, 80])
    figure = evaluate(single(truth, given), resamples=4000).figures["accuracy"]
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert figure.low == pytest.approx(0.8 - spread, abs=0.006)
    assert figure.high == pytest.approx(0.8 + spread, abs=0.006)
    assert evaluate(single(truth, given), resamples=4000).figures["accuracy"] == figure


def test_documents_without_a_mistake_do_not_make_an_accuracy_certain() -> None:
    """All resamples are the same, so that the bootstrap's interval would be from 100 to 100 %."""
    truth = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    figures = evaluate(single(truth, truth)).figures
    accuracy = figures["accuracy"]
    assert (accuracy.value, accuracy.high) == (1.0, 1.0)
    assert accuracy.low == pytest.approx(0.7225, abs=1e-4)  # 10 / (10 + 1.96²)
    assert (figures["f1_macro"].value, figures["f1_macro"].low, figures["f1_macro"].high) == (1.0, None, None)
    wrong = evaluate(single(truth, (truth + 1) % 3)).figures["accuracy"]
    assert (wrong.value, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(0.2775, abs=1e-4)


def test_f1_of_each_label_has_the_interval_that_macro_f1_has() -> None:
    generator = np.random.default_rng(3)
    truth, scores = generator.random((80, 1)) < 0.5, generator.random((80, 1))
    found = evaluate(several(truth, scores))
    (row,) = found.per_label
    assert (row.f1, row.f1_low, row.f1_high) == (
        found.figures["f1_macro"].value,
        found.figures["f1_macro"].low,
        found.figures["f1_macro"].high,
    )
    never = evaluate(single([0, 1], [0, 2])).per_label[3]
    assert (never.f1, never.f1_low, never.f1_high) == (0, None, None)


def test_a_rank_correlation_has_an_interval() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=300)
    near, far = truth + generator.normal(size=300) * 0.5, truth + generator.normal(size=300) * 2
    figure = evaluate(regression(truth, near)).figures["spearman"]
    assert figure.low is not None
    assert figure.high is not None
    # Of normal values Fisher's z of Pearson's r spreads by 1 / sqrt(n - 3), and that of Spearman's by hardly more.
    z = np.arctanh(figure.value)
    assert np.arctanh([figure.low, figure.high]) == pytest.approx([z - 2.1 / 300**0.5, z + 2.1 / 300**0.5], abs=0.04)
    difference = compare(regression(truth, near), regression(truth, far)).differences["spearman"]
    assert difference.low is not None
    assert 0 < difference.low < difference.value


def test_mcnemar_on_a_known_table() -> None:
    # 10 right only in the first, 2 only in the second, 30 in both, 8 in neither: p = 2 P(B(12, 1/2) <= 2) = 158 / 4096
    truth = np.zeros(50, int)
    first = np.repeat([0, 1, 0, 1], [10, 2, 30, 8])
    second = np.repeat([1, 0, 0, 1], [10, 2, 30, 8])
    found = compare(single(truth, first), single(truth, second))
    assert (found.only_first_right, found.only_second_right) == (10, 2)
    assert found.p_value == pytest.approx(158 / 4096)
    difference = found.differences["accuracy"]
    assert difference.value == pytest.approx(8 / 50)
    assert difference.low is not None
    assert difference.high is not None
    assert 0 < difference.low < 8 / 50 < difference.high


def test_a_prediction_does_not_differ_from_itself() -> None:
    generator = np.random.default_rng(1)
    truth, scores = generator.random((40, 3)) < 0.5, generator.random((40, 3))
    found = compare(several(truth, scores), several(truth, scores))
    assert found.p_value == 1.0
    assert {(figure.value, figure.low, figure.high) for figure in found.differences.values()} == {(0.0, 0.0, 0.0)}


def test_values_are_compared_by_their_errors() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=200)
    near, far = truth + generator.normal(size=200) * 0.1, truth + generator.normal(size=200)
    found = compare(regression(truth, near), regression(truth, far))
    assert found.p_value is None
    assert found.differences["mae"].high is not None
    assert found.differences["mae"].high < 0


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(StrideformerError, match="no documents to evaluate"):
        evaluate(single([], np.empty(0, int)))
    with pytest.raises(StrideformerError, match="different labels"):
        compare(single([0], [0]), several(np.ones((1, 4), bool), np.ones((1, 4))))
    with pytest.raises(StrideformerError, match="2 and 1 documents"):
        compare(single([0, 1], [0, 1]), single([0], [0]))
