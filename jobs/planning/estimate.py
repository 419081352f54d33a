"""From documents that were drawn to all documents: totals with their 95 % intervals.

A document's value over its chance is, on average, the total, of whatever; draws are independent, so how much they
differ says how far off their mean may be. Among values are two of which the total is known: 1, of which it is the
number of documents, and the bytes of the plan. What goes with these is taken out by a regression, which leaves little
where tokens go with bytes. The interval is Student's t over the residuals of the draws. With 200 draws, made a thousand
times and more, it held the true totals of 20 Newsgroups, RFCs, reviews and transcripts 91 to 96 times in 100; equal
chances and no regression did so 75 times with newsgroups, in intervals six times as wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from jobs.planning.sample import SHARE_OF_EQUALS, Sample

CONFIDENCE = 0.95
# Of squares that are sums of rounding alone.
NOTHING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A figure of the corpus, and its 95 % interval; the interval is the figure itself where all was counted."""

    value: int
    low: int
    high: int


@dataclass(frozen=True)
class Estimator:
    """What a sample says of all documents that might have been drawn."""

    sample: Sample

    def total(self, values: np.ndarray) -> Estimate:
        """The sum over all documents of what is (documents,) of those of the sample."""
        seen = int(values.sum())
        if self.sample.whole:
            return Estimate(seen, seen, seen)
        residuals = self._by_draw(values)
        value = float(self._of_draws @ residuals)
        residuals = residuals - residuals.mean()
        freedom = len(residuals) - 1
        factor = 1 / len(residuals)
        spread = float(self._centred @ self._centred)
        if spread > NOTHING:
            residuals -= self._centred * float(self._centred @ residuals) / spread
            factor += self._known.mean() ** 2 / spread
            freedom -= 1
        error = students_t(freedom) * float(np.sqrt(factor * (residuals @ residuals) / freedom))
        # What was seen is there.
        return Estimate(max(round(value), seen), max(round(value - error), seen), max(round(value + error), seen))

    def number(self, flags: np.ndarray) -> Estimate:
        """How many of all documents are such: (documents,) bool."""
        found = self.total(flags.astype(np.int64))
        population = self.sample.population
        if self.sample.whole:
            return found
        if flags.any() and not flags.all():
            return Estimate(*(min(each, population) for each in (found.value, found.low, found.high)))
        # No draw differs from another, which does not mean that no document does: so many would likely have been met.
        draws = self.sample.drawn.size
        unseen = min(round(population * (1 - (1 - CONFIDENCE) ** (1 / draws)) / SHARE_OF_EQUALS), population)
        return Estimate(population, population - unseen, population) if flags.all() else Estimate(0, 0, unseen)

    def quantiles(self, values: np.ndarray, shares: list[float]) -> list[int]:
        """The values that these shares of all documents do not exceed; ``values`` may be of some documents alone.

        Args:
            values: (documents,) float64, NaN of those that do not count.
        """
        of_these = np.flatnonzero(~np.isnan(values))
        order = of_these[np.argsort(values[of_these], kind="stable")]
        weights = np.cumsum(np.maximum(self.weights[order], 0))
        places = np.searchsorted(weights, np.array(shares) * weights[-1] * (1 - NOTHING))
        return [int(values[order[place]]) for place in places]

    @cached_property
    def weights(self) -> np.ndarray:
        """(documents,) how many documents each of the sample stands for; their sum is all documents."""
        weights = np.zeros(self.sample.documents.num_rows)
        if self.sample.whole:
            return weights + 1
        each = self._of_draws[:, None] / (self.sample.drawn.shape[1] * self.sample.chances)
        np.add.at(weights, self.sample.drawn, each)
        return weights

    def _by_draw(self, values: np.ndarray) -> np.ndarray:
        """(draws,) what each says of the total by itself."""
        return np.asarray((values[self.sample.drawn] / self.sample.chances).mean(axis=1))

    @cached_property
    def _known(self) -> np.ndarray:
        """(draws,) by how much each is wrong about the number of documents, as a share of it.

        About the bytes it is wrong by as much the other way, since the chances are made of the two.
        """
        return self._by_draw(np.ones(self.sample.documents.num_rows)) / self.sample.population - 1

    @cached_property
    def _centred(self) -> np.ndarray:
        return np.asarray(self._known - self._known.mean())

    @cached_property
    def _of_draws(self) -> np.ndarray:
        """(draws,) the weight of each draw, such that the numbers of documents and of bytes come out right."""
        spread = float(self._centred @ self._centred)
        equal = np.full(len(self._known), 1 / len(self._known))
        return equal if spread <= NOTHING else equal - self._centred * self._known.mean() / spread


def students_t(freedom: int) -> float:
    """The bound within which 95 % of Student's t lie, to three decimals from 20 degrees of freedom on.

    Abramowitz and Stegun 1964, 26.7.5; scipy has it exactly, but is no dependency of the jobs.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
