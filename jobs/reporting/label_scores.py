"""Labels and their scores, added up: how often each is given, how sure, and which documents are least sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.reporting.extremes import Smallest
from jobs.reporting.histograms import GrowingHistogram
from jobs.reporting.parts import UnfitPartError
from strideformer.predictions import LabelSpace

SCORE_BINS = 20

Kind = Literal["single_label_classification", "multi_label_classification", "regression"]


@dataclass(frozen=True)
class Labelling:
    """What a job's labels are.

    Attributes:
        kind: as a model's problem type.
        names: of the labels, or of a regression's targets.
    """

    kind: Kind
    names: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """The columns that are read of every document."""
        if self.kind == "single_label_classification":
            return ["label", "score"]
        if self.kind == "multi_label_classification":
            return ["label", "score", "scores"]
        return ["score"] if len(self.names) == 1 else ["score", "scores"]

    @classmethod
    def of(cls, scores: pa.DataType, label: pa.Array) -> Labelling:
        """By the type of a part's scores, and some of its labels."""
        names = tuple(field.name for field in scores)
        if pa.types.is_list(label.type):
            return cls("multi_label_classification", names)
        # A regression has no labels, and a classifier gives every document one.
        return cls("regression" if label.null_count == len(label) else "single_label_classification", names)


class LabelScores:
    """Figures of labelled documents, added up.

    Attributes:
        labels: what the labels are.
        given: (labels,) int64, documents that each label was given to; of a regression 0.
        sums: (labels,) float64, sums of the scores that each was given with.
        by_label: (labels, SCORE_BINS) int64, histograms of these.
        overall: (SCORE_BINS,) int64, of the best label's score of every document.
        without: documents of a multi-label model that were given no label.
        values: of each target of a regression.
        least_sure: documents by how sure their labels are; of a regression by its first value.
        highest: of a regression, documents by its first value, negated.
    """

    def __init__(self, labels: Labelling, most: int) -> None:
        self.labels = labels
        number = 0 if labels.kind == "regression" else len(labels.names)
        self.given = np.zeros(number, np.int64)
        self.sums = np.zeros(number)
        self.by_label = np.zeros((number, SCORE_BINS), np.int64)
        self.overall = np.zeros(SCORE_BINS, np.int64)
        self.without = 0
        self.values = [GrowingHistogram() for _ in labels.names] if labels.kind == "regression" else []
        # Of a regression both ends are of interest.
        self.least_sure = Smallest(most if labels.kind != "regression" else -(-most // 2))
        self.highest = Smallest(most // 2 if labels.kind == "regression" else 0)
        self._names = pa.array(labels.names, pa.string())
        self._space = LabelSpace(labels.names, labels.kind)

    def add(self, batch: pa.RecordBatch, shard: int, first_row: int) -> np.ndarray:
        """Count a batch of a part; gives its (rows,) scores back.

        Raises:
            UnfitPartError: a label has no score.
        """
        score = floats(batch.column("score"))
        measure: dict[str, Callable[[pa.RecordBatch, np.ndarray], np.ndarray]] = {
            "single_label_classification": self._add_single,
            "multi_label_classification": self._add_multi,
            "regression": self._add_values,
        }
        sureness = measure[self.labels.kind](batch, score)
        self.least_sure.add(sureness, shard, first_row)
        if self.labels.kind == "regression":
            self.highest.add(-sureness, shard, first_row)
        return score

    def merge(self, other: LabelScores) -> None:
        """Count what another has counted."""
        for name in ("given", "sums", "by_label", "overall"):
            getattr(self, name).__iadd__(getattr(other, name))
        self.without += other.without
        for mine, others in zip(self.values, other.values, strict=True):
            mine.merge(others)
        self.least_sure.merge(other.least_sure)
        self.highest.merge(other.highest)

    def _add_single(self, batch: pa.RecordBatch, score: np.ndarray) -> np.ndarray:
        self.overall += self._add_given(self._numbers(batch.column("label")), score)
        return score

    def _add_multi(self, batch: pa.RecordBatch, score: np.ndarray) -> np.ndarray:
        label = batch.column("label")
        numbers = self._numbers(pc.list_flatten(label))
        scores = score_matrix(batch.column("scores"))
        self._add_given(numbers, scores[pc.list_parent_indices(label).to_numpy(), numbers])
        self.overall += np.bincount(_bins(score), minlength=SCORE_BINS)
        self.without += int(pc.sum(pc.equal(pc.list_value_length(label), 0)).as_py() or 0)
        return self._space.confidence(scores)

    def _add_values(self, batch: pa.RecordBatch, score: np.ndarray) -> np.ndarray:
        columns = [score]
        if len(self.labels.names) > 1:
            columns = [floats(column) for column in batch.column("scores").flatten()]
        for histogram, column in zip(self.values, columns, strict=True):
            histogram.add(column)
        return score

    def _add_given(self, numbers: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Count labels given, with their scores; gives the (SCORE_BINS,) histogram of these."""
        count = len(self.given)
        self.given += np.bincount(numbers, minlength=count)
        self.sums += np.bincount(numbers, weights=scores, minlength=count)
        cells = np.bincount(numbers * SCORE_BINS + _bins(scores), minlength=count * SCORE_BINS)
        self.by_label += cells.reshape(count, SCORE_BINS)
        histogram: np.ndarray = cells.reshape(count, SCORE_BINS).sum(axis=0)
        return histogram

    def _numbers(self, labels: pa.Array) -> np.ndarray:
        positions = pc.index_in(labels, self._names)
        if positions.null_count:
            raise UnfitPartError("has labels without scores")
        return np.asarray(positions.to_numpy(), np.int64)


def score_matrix(scores: pa.StructArray) -> np.ndarray:
    """(rows, labels) float32."""
    return np.stack([floats(column) for column in scores.flatten()], axis=1)


def floats(column: pa.Array) -> np.ndarray:
    """(rows,) float32; NaN where it is null."""
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float32)


def _bins(scores: np.ndarray) -> np.ndarray:
    bins: np.ndarray = np.clip(np.nan_to_num(scores) * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
    return bins
