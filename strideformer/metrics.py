"""How good predictions are: figures with bootstrap intervals, per label and per length, and paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strideformer import resampling
from strideformer.calibration import document_losses, expected_calibration_error
from strideformer.errors import StrideformerError
from strideformer.extras import import_from_extra
from strideformer.label_figures import LabelFigures, label_figures, label_points
from strideformer.resampling import RESAMPLES
from strideformer.scored_documents import LENGTH_BUCKETS, ScoredDocuments

Figures = dict[str, "Figure"]

# Of twenty thousand labels the matrix has 400 million counts: 3 GB, and more as lists and as JSON.
MOST_LABELS_OF_A_MATRIX = 1000
CONFUSIONS = 10


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % percentile bootstrap interval over documents; None where there is none.

    Of a few documents the interval is too narrow: look at how many there are. Of documents without one mistake, or with
    mistakes alone, all resamples are the same, and tell nothing: accuracy has Wilson's interval (1927) then, and other
    figures have none.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LengthFigures:
    """Documents of ``above < tokens <= up_to``; None is without bound."""

    above: int
    up_to: int | None
    documents: int
    figures: Figures


@dataclass(frozen=True)
class Confusion:
    """How many documents of a label are given another."""

    true: str
    given: str
    documents: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds.

    Attributes:
        figures: by name, in the order in which people read them. single label: accuracy, f1_macro, f1_weighted,
            f1_micro, log_loss, expected_calibration_error; multi-label the same, with subset_accuracy for accuracy;
            regression: mae, rmse, r2, pearson, spearman, each the mean over its targets.
        per_label: empty for a regression.
        confusion: of up to a thousand single labels, [true label][given label] counts; of more it would fill memory.
        confusions: of single labels, the most frequent mistakes, most frequent first.
        by_length: of documents that were read to their end; empty buckets are left out.
        truncated: of documents of which the end was not read, if any: how long they are is not known, but that it is
            more than the tokens that were read.
    """

    problem_type: str
    documents: int
    figures: Figures
    per_label: list[LabelFigures]
    confusion: list[list[int]] | None
    confusions: list[Confusion]
    by_length: list[LengthFigures]
    truncated: LengthFigures | None


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two predictions of the same documents.

    Attributes:
        documents: how many both have.
        only_first_right, only_second_right: documents that one has exactly right and the other has not.
        p_value: of McNemar's exact test (two-sided binomial on these two counts) that accuracies are equal; None for
            a regression.
        differences: first minus second, with paired bootstrap intervals: the same resampled documents for both.
    """

    documents: int
    only_first_right: int | None
    only_second_right: int | None
    p_value: float | None
    differences: Figures


def evaluate(
    documents: ScoredDocuments,
    length_buckets: Sequence[int] = LENGTH_BUCKETS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """All figures of some predictions.

    Labels that are neither true nor given anywhere are left out of macro means.

    Args:
        length_buckets: upper bounds in tokens, ascending; one more bucket holds what is longer.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        StrideformerError: there are no documents, or scikit-learn is not installed.
    """
    if not len(documents):
        raise StrideformerError("there are no documents to evaluate: no prediction has a label that can be used")
    (statistics,) = _statistics([documents], resamples, seed)
    figures = _with_intervals(documents, statistics)
    by_length, truncated = [], None
    cut = np.zeros(len(documents), bool) if documents.truncated is None else documents.truncated
    if documents.num_tokens is not None:
        bounds = sorted(length_buckets)
        bucket = np.searchsorted(bounds, documents.num_tokens, side="left")
        for number in np.unique(bucket[~cut]).tolist():
            some = documents.take(~cut & (bucket == number))
            above, up_to = ([0, *bounds][number], [*bounds, None][number])
            by_length.append(LengthFigures(above, up_to, len(some), _headline(some, resamples, seed)))
    if cut.any():
        some = documents.take(cut)
        above = 0 if some.num_tokens is None else int(some.num_tokens.min())
        truncated = LengthFigures(above, None, len(some), _headline(some, resamples, seed))
    confusion, confusions, per_label = None, list[Confusion](), list[LabelFigures]()
    if documents.problem_type != "regression":
        f1 = statistics["f1_by_label"]
        per_label = label_figures(documents.names, documents.truth, documents.given, f1)
    if documents.problem_type == "single_label_classification":
        confusions = _confusions(documents)
        if len(documents.names) <= MOST_LABELS_OF_A_MATRIX:
            metrics = import_from_extra("sklearn.metrics", "train")
            labels = np.arange(len(documents.names))
            confusion = metrics.confusion_matrix(documents.truth, documents.given, labels=labels).tolist()
    figures |= _figures_of_scores(documents, resamples, seed)
    return Evaluation(
        documents.problem_type, len(documents), figures, per_label, confusion, confusions, by_length, truncated
    )


def _confusions(documents: ScoredDocuments) -> list[Confusion]:
    """The most frequent mistakes of single labels, alike ones by true and then by given label."""
    wrong = documents.truth != documents.given
    pairs = documents.truth[wrong].astype(np.int64) * len(documents.names) + documents.given[wrong]
    places, counts = np.unique(pairs, return_counts=True)
    found = []
    for index in np.argsort(-counts, kind="stable")[:CONFUSIONS].tolist():
        true, given = divmod(int(places[index]), len(documents.names))
        found.append(Confusion(documents.names[true], documents.names[given], int(counts[index])))
    return found


def compare(first: ScoredDocuments, second: ScoredDocuments, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare two predictions of the same documents, row by row.

    McNemar's test (McNemar 1947; exact as in Dietterich 1998's setting of one test set) asks whether the accuracies
    differ; the bootstrap says by how much they do, F1 too.

    Raises:
        StrideformerError: they differ in labels or in number, or have no document in common.
    """
    if first.problem_type != second.problem_type or list(first.names) != list(second.names):
        raise StrideformerError("the two predictions are of different labels: compare models of the same labels")
    if not len(first) or len(first) != len(second):
        raise StrideformerError(f"{len(first)} and {len(second)} documents cannot be compared: give the same to both")
    ours, theirs = _statistics([first, second], resamples, seed)
    points = _points(first), _points(second)
    differences = {
        name: Figure(points[0][name] - points[1][name], *resampling.percentile_interval(ours[name] - theirs[name]))
        for name in points[0]
    }
    if first.problem_type == "regression":
        return Comparison(len(first), None, None, None, differences)
    stats = import_from_extra("scipy.stats", "train")
    right, other_right = first.right(), second.right()
    only_first, only_second = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    discordant = only_first + only_second
    p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return Comparison(len(first), only_first, only_second, p_value, differences)


def _headline(documents: ScoredDocuments, resamples: int, seed: int) -> Figures:
    """The figures of what is given, with intervals."""
    (statistics,) = _statistics([documents], resamples, seed)
    return _with_intervals(documents, statistics)


def _with_intervals(documents: ScoredDocuments, statistics: Mapping[str, np.ndarray]) -> Figures:
    figures = {}
    for name, value in _points(documents).items():
        interval = resampling.percentile_interval(statistics[name])
        if interval[0] < interval[1]:
            figures[name] = Figure(value, *interval)
        elif documents.problem_type != "regression" and name == _accuracy_name(documents):
            figures[name] = Figure(value, *resampling.wilson_interval(value, len(documents)))
        else:
            figures[name] = Figure(value)
    return figures


def _points(documents: ScoredDocuments) -> dict[str, float]:
    truth, given = documents.truth, documents.given
    if documents.problem_type == "regression":
        metrics = import_from_extra("sklearn.metrics", "train")
        stats = import_from_extra("scipy.stats", "train")
        columns = list(zip(truth.T, given.T, strict=True))
        varies = len(truth) > 1 and all(np.ptp(true) > 0 and np.ptp(value) > 0 for true, value in columns)
        correlations = {
            name: float(np.mean([test(true, value).statistic for true, value in columns])) if varies else float("nan")
            for name, test in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr))
        }
        return {
            "mae": float(metrics.mean_absolute_error(truth, given)),
            "rmse": float(metrics.root_mean_squared_error(truth, given)),
            "r2": float(metrics.r2_score(truth, given)) if len(truth) > 1 else float("nan"),
            **correlations,
        }
    found = label_points(truth, given, len(documents.names))
    return {_accuracy_name(documents): found.pop("accuracy"), **found}


def _statistics(several: Sequence[ScoredDocuments], resamples: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Each one's (resamples,) statistics, over the same resampled documents."""
    first = several[0]
    number = len(first)
    contributions, counts = _contributions(several)
    sums = np.split(resampling.resampled_sums(contributions, counts, resamples, seed), len(several), axis=1)
    if first.problem_type == "regression":
        ranks = (resampling.resampled_rank_correlations(one.truth, one.given, resamples, seed) for one in several)
        found = [resampling.value_statistics(part, number) for part in sums]
        return [figures | {"spearman": rho} for figures, rho in zip(found, ranks, strict=True)]
    found = [resampling.label_statistics(part, number) for part in sums]
    return [{_accuracy_name(first): each.pop("accuracy"), **each} for each in found]


def _contributions(several: Sequence[ScoredDocuments]) -> tuple[Any, np.ndarray]:
    """What each pattern of documents adds, of all predictions side by side, and how many documents have it."""
    first = several[0]
    if first.problem_type == "regression":
        parts = [resampling.value_contributions(one.truth, one.given) for one in several]
        return np.concatenate(parts, axis=1), np.ones(len(first), np.int64)
    sparse = import_from_extra("scipy.sparse", "train")
    if first.problem_type == "multi_label_classification":
        counts = np.ones(len(first), np.int64)
        truth = sparse.csr_array(first.truth.astype(np.int64))
        givens = [sparse.csr_array(one.given.astype(np.int64)) for one in several]
    else:
        num_labels = len(first.names)
        key = first.truth.astype(np.int64)
        for one in several:
            key = key * num_labels + one.given
        _, rows, counts = np.unique(key, return_index=True, return_counts=True)
        truth = resampling.one_hot(first.truth[rows], num_labels)
        givens = [resampling.one_hot(one.given[rows], num_labels) for one in several]
    return sparse.hstack([resampling.label_contributions(truth, given) for given in givens], format="csr"), counts


def _figures_of_scores(documents: ScoredDocuments, resamples: int, seed: int) -> Figures:
    """Log loss, with an interval, and the calibration error, whose bootstrap would be biased upwards."""
    if documents.problem_type == "regression":
        return {}
    losses = document_losses(documents.scores, documents.truth, documents.problem_type)
    sums = resampling.resampled_sums(losses[:, None], np.ones(len(losses), np.int64), resamples, seed)
    interval = resampling.percentile_interval(sums[:, 0] / len(losses))
    return {
        "log_loss": Figure(float(losses.mean()), *interval),
        "expected_calibration_error": Figure(calibration_error(documents.scores, documents)),
    }


def calibration_error(scores: np.ndarray, documents: ScoredDocuments) -> float:
    """The expected calibration error of (documents, num_labels) scores; see `expected_calibration_error`."""
    if documents.problem_type == "multi_label_classification":
        return expected_calibration_error(scores.ravel(), documents.truth.ravel())
    return expected_calibration_error(scores.max(axis=1), documents.right())


def _accuracy_name(documents: ScoredDocuments) -> str:
    return "subset_accuracy" if documents.problem_type == "multi_label_classification" else "accuracy"
