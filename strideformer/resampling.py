"""Bootstrap intervals, from sums over documents that are drawn again and again with replacement.

Accuracy and F1 depend on a sample through sums alone (true positives, labels given, true labels), and documents with
the same true and given labels add the same. So a resample is a draw of how often each such pattern occurs, and all
resamples are one matrix product: no statistic is computed document by document. Spearman's rho alone is of no such
sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from statistics import NormalDist
from typing import Any

import numpy as np

from strideformer.extras import import_from_extra

RESAMPLES = 1000  # Efron & Tibshirani 1993, chapter 19: percentile intervals want about a thousand
CONFIDENCE = 0.95
# Weights held at once, 32 MB of them.
WEIGHTS_AT_ONCE = 1 << 22
# One binomial draw a pattern costs ten times as much as one random document (280 and 28 ns, one Zen 5 core).
COST_OF_A_PATTERN = 10
# Of values that are all the same, what rounding leaves of a variance is some 1e-16 of their mean square.
LEAST_VARIANCE = 1e-12


def resampled_sums(contributions: Any, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """What documents add up to in each resample of all of them.

    Args:
        contributions: (patterns, columns), dense or a scipy sparse array: what one document of a pattern adds.
        counts: (patterns,) int64, the documents of each pattern.

    Returns:
        (resamples, columns) float64; the same seed gives the same.
    """
    drawn = resampled_weights(counts, resamples, seed)
    return np.concatenate([(contributions.T @ weights.T).T for weights in drawn])


def resampled_weights(counts: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each pattern is drawn in each resample: (some resamples, patterns) float64, as many as memory takes."""
    generator = np.random.default_rng(seed)
    num_documents, num_patterns = int(counts.sum()), len(counts)
    few = num_patterns * COST_OF_A_PATTERN < num_documents
    owners = np.empty(0, np.int64) if few else np.repeat(np.arange(num_patterns), counts)
    at_once = max(1, WEIGHTS_AT_ONCE // num_patterns)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        if few:
            weights = generator.multinomial(num_documents, counts / num_documents, size=size)
        else:
            draws = (owners[generator.integers(num_documents, size=num_documents)] for _ in range(size))
            weights = np.stack([np.bincount(draw, minlength=num_patterns) for draw in draws])
        yield weights.astype(np.float64)


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic's (resamples,) values; values that are not finite are left out."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def wilson_interval(share: float, number: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a share of so many: also where it is 0 or 1."""
    square = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    middle = share + square / (2 * number)
    reach = math.sqrt(square * (share * (1 - share) + square / (4 * number)) / number)
    scale = 1 + square / number
    # An end that is the share itself, as of no mistake, is not to miss it by rounding.
    return max(0.0, min(share, (middle - reach) / scale)), min(1.0, max(share, (middle + reach) / scale))


def one_hot(labels: np.ndarray, num_labels: int) -> Any:
    """(patterns,) label numbers as a sparse (patterns, num_labels) array of ones."""
    sparse = import_from_extra("scipy.sparse", "train")
    ones = np.ones(len(labels), np.int64)
    return sparse.csr_array((ones, labels, np.arange(len(labels) + 1)), shape=(len(labels), num_labels))


def label_contributions(truth: Any, given: Any) -> Any:
    """What documents add to the sums that accuracy and F1 are made of.

    Args:
        truth, given: (patterns, num_labels) of 0 and 1, sparse.

    Returns:
        Sparse (patterns, 3 * num_labels + 1): of each label whether it is rightly given, given, true; then whether
        the document has exactly its true labels.
    """
    sparse = import_from_extra("scipy.sparse", "train")
    right = abs(truth - given).sum(axis=1) == 0
    parts = [truth.multiply(given), given, truth, sparse.csr_array(right.astype(np.int64)[:, None])]
    return sparse.hstack(parts, format="csr")


def label_statistics(sums: np.ndarray, num_documents: int) -> dict[str, np.ndarray]:
    """Accuracy, micro, macro and weighted F1, and the F1 of each label, of each resample.

    A label that is neither true nor given in a resample is left out of its macro mean. Where no label is, there is no
    F1: NaN.

    Args:
        sums: (resamples, 3 * num_labels + 1), of `label_contributions`.
    """
    rightly, given, true = np.split(sums[:, :-1], 3, axis=1)
    f1_by_label = _ratio(2 * rightly, given + true)
    f1 = np.nan_to_num(f1_by_label)
    return {
        "accuracy": sums[:, -1] / num_documents,
        "f1_micro": _ratio(2 * rightly.sum(axis=1), (given + true).sum(axis=1)),
        "f1_macro": _ratio(f1.sum(axis=1), (given + true > 0).sum(axis=1)),
        "f1_weighted": _ratio((f1 * true).sum(axis=1), true.sum(axis=1)),
        "f1_by_label": f1_by_label,
    }


def value_contributions(truth: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What (documents, targets) true and given values add to the sums of a regression: (documents, 7 * targets)."""
    centre = truth.mean(axis=0)  # keeps the squares of values that are far from zero from swallowing the differences
    true, value = truth - centre, given - centre
    error = true - value
    columns = [np.abs(error), error**2, true, true**2, value, value**2, true * value]
    return np.concatenate(columns, axis=1)


def value_statistics(sums: np.ndarray, num_documents: int) -> dict[str, np.ndarray]:
    """Mean over the targets of MAE, RMSE, R² and Pearson's r of each resample, from `value_contributions`.

    R² of true values that do not differ is NaN, and so is Pearson's r where either's do not.
    """
    parts = np.split(sums / num_documents, 7, axis=1)
    absolute, squared, true, true_squared, value, value_squared, product = parts
    variance_of_true, variance_of_value = _variance(true, true_squared), _variance(value, value_squared)
    r2 = 1 - squared / variance_of_true
    pearson = (product - true * value) / np.sqrt(variance_of_true * variance_of_value)
    values = {"mae": absolute, "rmse": np.sqrt(squared), "r2": r2, "pearson": pearson}
    return {name: of_targets.mean(axis=1) for name, of_targets in values.items()}


def _variance(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """The variance, and NaN where it is no more than rounding: what is divided by that is of any size."""
    variance = mean_square - mean**2
    return np.where(variance > LEAST_VARIANCE * mean_square, variance, np.nan)


def resampled_rank_correlations(truth: np.ndarray, given: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) Spearman's rho, mean over the targets, of the documents that `resampled_sums` draws."""
    drawn = resampled_weights(np.ones(len(truth), np.int64), resamples, seed)
    return rank_correlations(truth, given, chain.from_iterable(drawn))


def rank_correlations(truth: np.ndarray, given: np.ndarray, resamples: Iterable[np.ndarray]) -> np.ndarray:
    """(resamples,) Spearman's rho, mean over the targets; NaN where values do not differ.

    Ranks are no sums over documents, so each resample has its own; but values are sorted once.

    Args:
        truth, given: (documents, targets).
        resamples: of each, how often it has each document: (documents,) float64.
    """
    targets = [(_ranking(true), _ranking(value)) for true, value in zip(truth.T, given.T, strict=True)]
    return np.array(
        [np.mean([_correlation(true(row), value(row), row) for true, value in targets]) for row in resamples]
    )


def _ranking(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From how often each document is there to its rank, less the mean rank; equal values share theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    order, last = np.argsort(places, kind="stable"), np.cumsum(counts) - 1

    def ranks(weights: np.ndarray) -> np.ndarray:
        through = np.cumsum(weights[order])[last]
        before = np.concatenate([[0.0], through[:-1]])
        return np.asarray(((before + through - through[-1]) / 2)[places])

    return ranks


def _correlation(ranks: np.ndarray, others: np.ndarray, weights: np.ndarray) -> float:
    weighted = weights * ranks
    spread = (weighted @ ranks) * ((weights * others) @ others)
    return float(weighted @ others / np.sqrt(spread)) if spread > 0 else float("nan")


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, and NaN where below is 0: of no labels at all there is no F1."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0))
