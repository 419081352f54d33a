from __future__ import annotations

import numpy as np
import pytest

from strideformer.predictions import LabelSpace

LOGITS = np.array([[2.0, -1.0, 0.5], [1000.0, 0.0, -1000.0], [-3.0, -3.0, -3.0]], dtype=np.float32)


def test_single_label() -> None:
    space = LabelSpace(("a", "b", "c"), "single_label_classification")
    scores = space.scores(LOGITS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert scores[0, 0] == pytest.approx(np.exp(2) / (np.exp(2) + np.exp(-1) + np.exp(0.5)))
    assert space.labels(scores).tolist() == [[True, False, False]] * 3
    assert space.best(scores)[1] == 1


def test_multi_label() -> None:
    space = LabelSpace(("a", "b", "c"), "multi_label_classification")
    scores = space.scores(LOGITS)
    assert scores[0, 1] == pytest.approx(1 / (1 + np.e))
    assert space.labels(scores).tolist() == [[True, False, True], [True, True, False], [False] * 3]


def test_regression_keeps_its_values() -> None:
    space = LabelSpace(("a", "b", "c"), "regression")
    np.testing.assert_array_equal(space.scores(LOGITS), LOGITS)
    assert space.best(space.scores(LOGITS)).tolist() == [2.0, 1000.0, -3.0]
    assert not space.labels(LOGITS).any()
