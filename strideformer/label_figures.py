"""How good predictions are label by label, from how often each is true, given and both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from strideformer import resampling
from strideformer.extras import import_from_extra


@dataclass(frozen=True)
class LabelFigures:
    """One label of a classification. ``given`` is how often the model gave it, ``support`` how often it is true.

    A label that is never given has no precision, and one that is never true no recall: they are 0, as F1 is then.
    The interval of F1 is of the resamples in which the label is true or given; None where it never is, or where F1 is
    the same in all of them, which tells nothing.
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
    """Accuracy (every label of a document right), f1_macro, f1_weighted and f1_micro.

    Labels that are neither true nor given are left out of the means; where no label is, F1 is NaN.

    Args:
        truth, given: (documents,) int64 label numbers, or (documents, num_labels) of 0 and 1.
    """
    metrics = import_from_extra("sklearn.metrics", "train")
    occurring = np.flatnonzero(_times(truth, num_labels) + _times(given, num_labels))
    truth, given = _for_scikit_learn(truth), _for_scikit_learn(given)
    f1 = dict.fromkeys(("f1_macro", "f1_weighted", "f1_micro"), float("nan"))
    if len(occurring):
        options = {"labels": occurring, "zero_division": 0}
        f1 = {name: float(metrics.f1_score(truth, given, average=name[3:], **options)) for name in f1}
    return {"accuracy": float(metrics.accuracy_score(truth, given)), **f1}


def label_figures(
    names: Sequence[str], truth: np.ndarray, given: np.ndarray, resampled_f1: np.ndarray | None = None
) -> list[LabelFigures]:
    """The figures of each label.

    Args:
        truth, given: (documents,) int64 label numbers, or (documents, num_labels) of 0 and 1.
        resampled_f1: (resamples, num_labels), for the intervals.
    """
    metrics = import_from_extra("sklearn.metrics", "train")
    columns = metrics.precision_recall_fscore_support(
        _for_scikit_learn(truth), _for_scikit_learn(given), labels=np.arange(len(names)), zero_division=0
    )
    rows = zip(names, *(column.tolist() for column in columns), _times(given, len(names)).tolist(), strict=True)
    found = [LabelFigures(*row) for row in rows]
    if resampled_f1 is None:
        return found
    intervals = [resampling.percentile_interval(values) for values in resampled_f1.T]
    return [
        replace(each, f1_low=low, f1_high=high) if (each.support or each.given) and low < high else each
        for each, (low, high) in zip(found, intervals, strict=True)
    ]


def _for_scikit_learn(labels: np.ndarray) -> np.ndarray:
    """With a label that no document has beside a lone one, which scikit-learn takes for two classes: it would score
    the label's absence.
    """
    return np.pad(labels, ((0, 0), (0, 1))) if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _times(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """(num_labels,) how many documents have each label."""
    return labels.astype(np.int64).sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=num_labels)
