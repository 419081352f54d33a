"""Histograms that add up: of values of any range, and of lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

MOST_BINS = 48
# Up to 2**40 tokens; one more for zero.
LENGTH_BINS = 42
# Bins by which a median is told, within 4.5 %.
FINE_BINS_PER_DOUBLING = 8


class GrowingHistogram:
    """Counts of finite numbers in bins of one width, a power of two that doubles where there would be too many.

    Attributes:
        exponent: a bin is ``2**exponent`` wide; None as long as there are no numbers.
        first: the first bin begins at ``first * 2**exponent``.
        counts: (bins,) int64, MOST_BINS at most.
        low, high, total: the smallest and the largest number, and their sum.
    """

    def __init__(self) -> None:
        self.exponent: int | None = None
        self.first = 0
        self.counts = np.zeros(0, np.int64)
        self.low, self.high, self.total = math.inf, -math.inf, 0.0

    @property
    def number(self) -> int:
        return int(self.counts.sum())

    @property
    def edges(self) -> np.ndarray:
        """(bins + 1,) float64."""
        return np.ldexp(np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64), self.exponent or 0)

    def add(self, values: np.ndarray) -> None:
        """Count (n,) values; those that are not finite are passed over."""
        values = values[np.isfinite(values)].astype(np.float64)
        if not len(values):
            return
        self._widen(float(values.min()), float(values.max()), None)
        assert self.exponent is not None
        bins = np.floor(np.ldexp(values, -self.exponent)).astype(np.int64)
        self._count(int(bins.min()), np.bincount(bins - bins.min()))
        self.total += float(values.sum())

    def merge(self, other: GrowingHistogram) -> None:
        """Count what another has counted."""
        if other.exponent is None:
            return
        self._widen(other.low, other.high, other.exponent)
        assert self.exponent is not None
        self._count(*_coarser(other.first, other.counts, self.exponent - other.exponent))
        self.total += other.total

    def _widen(self, low: float, high: float, at_least: int | None) -> None:
        """Make bins wide enough for these, too."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        # Numbers of bins must be whole numbers that float64 holds.
        largest = max(abs(self.low), abs(self.high))
        exponent = max(math.frexp((self.high - self.low) / MOST_BINS)[1], math.frexp(largest)[1] - 40)
        exponent = max(each for each in (exponent, at_least, self.exponent) if each is not None)
        while math.floor(math.ldexp(self.high, -exponent)) - math.floor(math.ldexp(self.low, -exponent)) >= MOST_BINS:
            exponent += 1
        if self.exponent is not None:
            self.first, self.counts = _coarser(self.first, self.counts, exponent - self.exponent)
        self.exponent = exponent

    def _count(self, first: int, counts: np.ndarray) -> None:
        if not len(self.counts):
            self.first, self.counts = first, counts.astype(np.int64)
            return
        begin = min(self.first, first)
        end = max(self.first + len(self.counts), first + len(counts))
        together = np.zeros(end - begin, np.int64)
        together[self.first - begin :][: len(self.counts)] += self.counts
        together[first - begin :][: len(counts)] += counts
        self.first, self.counts = begin, together


def _coarser(first: int, counts: np.ndarray, doublings: int) -> tuple[int, np.ndarray]:
    """The same counts in bins that are ``2**doublings`` times as wide."""
    if not len(counts) or not doublings:
        return first, counts
    bins = (first + np.arange(len(counts))) >> doublings
    together = np.zeros(int(bins[-1] - bins[0]) + 1, np.int64)
    np.add.at(together, bins - bins[0], counts)
    return int(bins[0]), together


@dataclass
class Lengths:
    """Documents by length: bin ``k`` has those above ``2**(k-2)`` and up to ``2**(k-1)``; bin 0 those of none.

    Attributes:
        documents, truncated: (LENGTH_BINS,) int64, by tokens.
        scored: (LENGTH_BINS,) float64, sums of scores, by tokens.
        by_chunks: (LENGTH_BINS,) int64, documents by chunks.
        fine: documents by tokens in narrow bins, for quantiles.
        longest: tokens of the longest document.
    """

    documents: np.ndarray = field(default_factory=lambda: np.zeros(LENGTH_BINS, np.int64))
    truncated: np.ndarray = field(default_factory=lambda: np.zeros(LENGTH_BINS, np.int64))
    scored: np.ndarray = field(default_factory=lambda: np.zeros(LENGTH_BINS))
    by_chunks: np.ndarray = field(default_factory=lambda: np.zeros(LENGTH_BINS, np.int64))
    fine: np.ndarray = field(default_factory=lambda: np.zeros(LENGTH_BINS * FINE_BINS_PER_DOUBLING, np.int64))
    longest: int = 0

    def add(self, tokens: np.ndarray, chunks: np.ndarray, truncated: np.ndarray, scores: np.ndarray | None) -> None:
        """Count documents: (n,) each."""
        if not len(tokens):
            return
        bins = length_bins(tokens)
        self.documents += np.bincount(bins, minlength=LENGTH_BINS)
        self.truncated += np.bincount(bins[truncated], minlength=LENGTH_BINS)
        self.by_chunks += np.bincount(length_bins(chunks), minlength=LENGTH_BINS)
        if scores is not None:
            self.scored += np.bincount(bins, weights=np.nan_to_num(scores), minlength=LENGTH_BINS)
        fine = np.log2(np.maximum(tokens, 1)) * FINE_BINS_PER_DOUBLING
        self.fine += np.bincount(fine.astype(np.int64), minlength=len(self.fine))
        self.longest = max(self.longest, int(tokens.max()))

    def merge(self, other: Lengths) -> None:
        """Count what another has counted."""
        for name in ("documents", "truncated", "scored", "by_chunks", "fine"):
            getattr(self, name).__iadd__(getattr(other, name))
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> int:
        """About so many tokens has the document that this share of all is not longer than; 0 where there is none."""
        number = int(self.fine.sum())
        if not number:
            return 0
        index = int(np.searchsorted(np.cumsum(self.fine), math.ceil(share * number)))
        return min(round(2 ** ((index + 0.5) / FINE_BINS_PER_DOUBLING)), self.longest)


_EDGES = np.concatenate([[0], 2 ** np.arange(LENGTH_BINS - 2, dtype=np.int64)])


def length_bins(lengths: np.ndarray) -> np.ndarray:
    """(n,) int64 lengths to the numbers of their bins."""
    return np.minimum(np.searchsorted(_EDGES, lengths), LENGTH_BINS - 1)


def bin_range(number: int) -> tuple[int, int]:
    """The least and the greatest length in a bin."""
    return (0, 0) if number == 0 else (1, 1) if number == 1 else (2 ** (number - 2) + 1, 2 ** (number - 1))
