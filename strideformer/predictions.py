"""From logits to what a person asked for: probabilities, a label, its score."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MULTI_LABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a model and how its logits are read.

    Attributes:
        names: the label of each logit, in order.
        problem_type: ``single_label_classification`` | ``multi_label_classification`` | ``regression``.
        temperature: logits are divided by it; 1 for an uncalibrated model, without meaning for a regression.
        thresholds: the score from which each label of a multi-label model is given; None is 0.5 for all.
    """

    names: tuple[str, ...]
    problem_type: str
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> LabelSpace:
        """The label space of a model's config; one label without a problem type is a regression.

        Raises:
            StrideformerError: a label has no number, or two of them have one name, as in configs written by hand.
        """
        numbers = range(config.num_labels)
        missing = [number for number in numbers if number not in config.id2label]
        if missing:
            raise StrideformerError(
                f"id2label in the model's config has nothing for {missing[0]}: number its labels 0 to {numbers[-1]}"
            )
        names = tuple(str(config.id2label[number]) for number in numbers)
        doubled = [name for name, times in Counter(names).items() if times > 1]
        if doubled:
            raise StrideformerError(
                f"id2label in the model's config names {doubled[0]!r} twice: give each label a name of its own"
            )
        default = "regression" if config.num_labels == 1 else "single_label_classification"
        thresholds = getattr(config, "thresholds", None)
        return cls(
            names,
            config.problem_type or default,
            float(getattr(config, "temperature", 1.0)),
            None if thresholds is None else tuple(thresholds),
        )

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """(num_documents, num_labels) logits to probabilities (softmax, or sigmoid for multi-label) in float32.

        A regression's logits are its values and stay as they are.
        """
        if self.problem_type == "regression":
            return logits.astype(np.float32)
        wide = logits.astype(np.float64) / self.temperature
        if self.problem_type == "multi_label_classification":
            small = np.exp(-np.abs(wide))  # of what is never positive, so that it cannot overflow
            sigmoid: np.ndarray = np.where(wide >= 0, 1 / (1 + small), small / (1 + small))
            return sigmoid.astype(np.float32)
        exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """(num_documents, num_labels) scores to a mask of the labels given: one a row, any number, or none."""
        given = np.zeros(scores.shape, dtype=bool)
        if self.problem_type == "multi_label_classification":
            thresholds = MULTI_LABEL_THRESHOLD if self.thresholds is None else self.thresholds
            given = scores >= np.asarray(thresholds, dtype=np.float32)
        elif self.problem_type == "single_label_classification":
            given[np.arange(len(scores)), scores.argmax(axis=-1)] = True
        return given

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        """(num_documents,) float32 in [0, 1]: how sure the labels given are, by what the scores say of themselves.

        It is the best label's probability. Of a multi-label model it is how sure the least sure of its labels is,
        where each is 0.5 sure at its threshold and 1 at a score of 0 or 1: with thresholds of 0.5, the probability of
        being given, or of not being given.

        Raises:
            StrideformerError: it is a regression, whose values say nothing of how sure they are.
        """
        if self.problem_type == "regression":
            raise StrideformerError("a regression does not say how sure its values are: leave early exit out")
        if self.problem_type == "single_label_classification":
            return self.best(scores)
        default = np.full(scores.shape[-1], MULTI_LABEL_THRESHOLD)
        thresholds = default if self.thresholds is None else np.asarray(self.thresholds, np.float64)
        apart = scores.astype(np.float64) - thresholds
        room = np.where(apart >= 0, 1 - thresholds, thresholds)
        share = np.divide(np.abs(apart), room, out=np.ones_like(apart), where=room > 0)
        return np.asarray((0.5 + 0.5 * share).min(axis=-1), np.float32)

    def best(self, scores: np.ndarray) -> np.ndarray:
        """(num_documents,) float32: the score of the best label; of a regression, its first value."""
        best: np.ndarray = scores[:, 0] if self.problem_type == "regression" else scores.max(axis=-1)
        return best
