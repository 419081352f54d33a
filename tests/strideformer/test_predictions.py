from __future__ import annotations

import numpy as np
import pytest

from strideformer import StrideformerConfig, StrideformerError
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


def test_a_temperature_divides_the_logits_and_changes_no_label() -> None:
    cold, warm = (LabelSpace(("a", "b", "c"), "single_label_classification", temperature=t) for t in (1.0, 2.0))
    np.testing.assert_allclose(warm.scores(LOGITS), cold.scores(LOGITS / 2), atol=1e-7)
    np.testing.assert_array_equal(warm.labels(warm.scores(LOGITS)), cold.labels(cold.scores(LOGITS)))
    values = LabelSpace(("a", "b", "c"), "regression", temperature=2.0)
    np.testing.assert_array_equal(values.scores(LOGITS), LOGITS)


def test_each_label_of_a_multi_label_model_has_its_threshold() -> None:
    space = LabelSpace(("a", "b"), "multi_label_classification", thresholds=(0.9, 0.1))
    assert space.labels(np.array([[0.8, 0.2], [0.9, 0.05]], np.float32)).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("labels", "words"),
    [({1: "a", 2: "b"}, "has nothing for 0: number its labels 0 to 1"), ({0: "a", 1: "a"}, "names 'a' twice")],
)
def test_labels_of_a_config_that_are_no_labels_are_refused(labels: dict[int, str], words: str) -> None:
    config = StrideformerConfig(id2label=labels)
    with pytest.raises(StrideformerError, match=words):
        LabelSpace.of(config)


def test_calibration_comes_from_the_config() -> None:
    config = StrideformerConfig(
        num_labels=2, problem_type="multi_label_classification", temperature=1.5, thresholds=[0.3, 0.6]
    )
    space = LabelSpace.of(StrideformerConfig.from_dict(config.to_dict()))
    assert (space.temperature, space.thresholds) == (1.5, (0.3, 0.6))
    plain = LabelSpace.of(StrideformerConfig(num_labels=2))
    assert (plain.temperature, plain.thresholds) == (1.0, None)
    for wrong, words in (({"temperature": 0.0}, "temperature=0.0"), ({"thresholds": [0.5]}, "1 values for 2 labels")):
        with pytest.raises(StrideformerError, match=words):
            StrideformerConfig(num_labels=2, **wrong)
