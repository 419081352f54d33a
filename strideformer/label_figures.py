"""How good predictions are label by label, from how often each is true, given and both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from strideformer import resampling


@dataclass(frozen=True)
class LabelFigures:
    """One label of a classification. ``given`` is how often the model gave it, ``support`` how often it is true.

    A label that is never given has no precision, and one that is never true no recall: they are 0, as F1 is then.
    The interval of F1 is of the resamples in which the label is true or given; None where it never is.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    given: int
    f1_low: float | None = None
    f1_high: float | None = None


def label_points(truth: np.ndarray, given: np.ndarray, num_labels: int) -> dict[str, float]:
    """Accuracy (every label of a document right), f1_macro, f1_weighted and f1_micro; where no label is, F1 is NaN.

    Args:
        truth, given: (documents,) int64 label numbers, or (documents, num_labels) of 0 and 1.
    """
    found = resampling.label_statistics(resampling.label_sums(truth, given, num_labels), len(truth))
    return {name: float(found[name][0]) for name in ("accuracy", "f1_macro", "f1_weighted", "f1_micro")}


def label_figures(
    names: Sequence[str], truth: np.ndarray, given: np.ndarray, resampled_f1: np.ndarray | None = None
) -> list[LabelFigures]:
    """The figures of each label.

    Args:
        truth, given: (documents,) int64 label numbers, or (documents, num_labels) of 0 and 1.
        resampled_f1: (resamples, num_labels), for the intervals.
    """
    sums = resampling.label_sums(truth, given, len(names))
    rightly, times, support = (counts[0] for counts in resampling.counts_of_labels(sums))
    precision, recall, f1 = (
        rightly / np.maximum(times, 1),
        rightly / np.maximum(support, 1),
        2 * rightly / np.maximum(times + support, 1),
    )
    columns = (column.tolist() for column in (precision, recall, f1, support, times))
    found = [LabelFigures(*row) for row in zip(names, *columns, strict=True)]
    if resampled_f1 is None:
        return found
    intervals = [resampling.percentile_interval(values) for values in resampled_f1.T]
    return [
        replace(each, f1_low=low, f1_high=high) if each.support or each.given else each
        for each, (low, high) in zip(found, intervals, strict=True)
    ]
