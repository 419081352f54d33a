from __future__ import annotations

import numpy as np
import pytest

from strideformer.calibration import (
    best_thresholds,
    document_losses,
    expected_calibration_error,
    fit_temperature,
    logits_of,
    with_temperature,
)
from strideformer.errors import StrideformerError
from strideformer.predictions import LabelSpace

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def drawn(problem_type: str, number: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that these logits stand for."""
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(number, 4)) * 2
    probabilities = LabelSpace(tuple("abcd"), problem_type).scores(logits)
    if problem_type == MULTI:
        return logits, generator.random((number, 4)) < probabilities
    truth = (generator.random((number, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(truth, 3)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_known_temperature_is_recovered(problem_type: str, temperature: float) -> None:
    logits, truth = drawn(problem_type)
    space = LabelSpace(tuple("abcd"), problem_type)
    overconfident = space.scores(logits / temperature)
    assert fit_temperature(overconfident, truth, problem_type) == pytest.approx(1 / temperature, rel=0.05)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_a_temperature_on_scores_is_the_one_on_logits(problem_type: str) -> None:
    logits, _ = drawn(problem_type, 50)
    at_two = LabelSpace(tuple("abcd"), problem_type, temperature=2.0).scores(logits)
    scores = LabelSpace(tuple("abcd"), problem_type).scores(logits)
    np.testing.assert_allclose(with_temperature(scores, 2.0, problem_type), at_two, atol=1e-6)
    np.testing.assert_allclose(
        with_temperature(at_two, 1.5, problem_type),
        LabelSpace(tuple("abcd"), problem_type, temperature=3.0).scores(logits),
        atol=1e-6,
    )


def test_scores_of_zero_and_one_have_finite_losses() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert np.isfinite(logits_of(scores, MULTI)).all()
    losses = document_losses(scores, np.array([0, 0]), SINGLE)
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert 80 < losses[1] < 90


def test_calibration_error_by_hand() -> None:
    # Bins of a fifth: one holds 0.9 (right), 1.0 (wrong); another 0.45 (right); 0.6 belongs to the bin that it ends.
    confidence = np.array([0.9, 1.0, 0.45, 0.6])
    right = np.array([True, False, True, False])
    expected = (abs(1.9 - 1) + abs((0.45 + 0.6) - 1)) / 4
    assert expected_calibration_error(confidence, right, bins=5) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_thresholds_lie_between_the_scores_that_they_tell_apart() -> None:
    scores = np.array([[0.2, 0.9, 0.1], [0.3, 0.8, 0.2], [0.1, 0.7, 0.3], [0.05, 0.2, 0.4]])
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    first, second, none = best_thresholds(scores, truth)
    assert first == pytest.approx(0.15)
    assert second == pytest.approx(0.85)
    assert none == 0.5


def test_what_cannot_be_calibrated_is_refused() -> None:
    certain = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(StrideformerError, match="right whatever it is: calibrate on more"):
        fit_temperature(certain, np.array([0, 1]), SINGLE)
    with pytest.raises(StrideformerError, match="as if by chance"):
        fit_temperature(certain, np.array([1, 0]), SINGLE)
    with pytest.raises(StrideformerError, match="regression has no scores"):
        fit_temperature(certain, np.array([1.0, 0.0]), "regression")
