"""Documents with what is true of them and what a model says, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Tokens that BERT and Longformer take, and the window of many a larger model.
LENGTH_BUCKETS = (512, 4096, 32768)


@dataclass(frozen=True)
class ScoredDocuments:
    """Documents with what is true and what a model says of them.

    Attributes:
        names: of the labels, or of a regression's targets.
        problem_type: ``single_label_classification`` | ``multi_label_classification`` | ``regression``.
        truth, given: (documents,) int64 label numbers; (documents, num_labels) bool for multi-label;
            (documents, targets) float for regression.
        scores: (documents, num_labels) probabilities, or a regression's values.
        num_tokens: (documents,) int64 tokens that were read, or None where they are no lengths.
        truncated: (documents,) bool, whether there was more than was read, or None.
    """

    names: Sequence[str]
    problem_type: str
    truth: np.ndarray
    given: np.ndarray
    scores: np.ndarray
    num_tokens: np.ndarray | None = None
    truncated: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: np.ndarray) -> ScoredDocuments:
        """Some of them, by a mask or by row numbers."""
        return ScoredDocuments(
            self.names,
            self.problem_type,
            self.truth[rows],
            self.given[rows],
            self.scores[rows],
            None if self.num_tokens is None else self.num_tokens[rows],
            None if self.truncated is None else self.truncated[rows],
        )

    def right(self) -> np.ndarray:
        """(documents,) bool: exactly the true label or labels are given."""
        same = self.truth == self.given
        return np.asarray(same.all(axis=1) if same.ndim == 2 else same)
