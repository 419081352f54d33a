"""Which documents have the smallest values: a few of any number, in memory that does not grow with it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np


class Smallest:
    """The places of the smallest of many values; of equal ones, of those that come first.

    Attributes:
        values: (kept,) float64, ascending.
        shards, rows: (kept,) int64, the part of each, and its row there.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.values = np.empty(0, np.float64)
        self.shards = np.empty(0, np.int64)
        self.rows = np.empty(0, np.int64)

    def add(self, values: np.ndarray, shard: int, first_row: int) -> None:
        """Consider (rows,) values of consecutive rows of a part; those that are not finite are passed over."""
        chosen = np.flatnonzero(np.isfinite(values))
        if len(self.values) == self.most and self.most:
            chosen = chosen[values[chosen] <= self.values[-1]]
        if len(chosen) > self.most > 0:
            worst = np.partition(values[chosen], self.most - 1)[self.most - 1]
            below = chosen[values[chosen] < worst]
            chosen = np.concatenate([below, chosen[values[chosen] == worst][: self.most - len(below)]])
        self._keep(values[chosen].astype(np.float64), np.full(len(chosen), shard), chosen + first_row)

    def merge(self, other: Smallest) -> None:
        """Consider what another kept."""
        self._keep(other.values, other.shards, other.rows)

    def places(self) -> dict[int, list[int]]:
        """Rows by part."""
        found: dict[int, list[int]] = defaultdict(list)
        for shard, row in self.in_order():
            found[shard].append(row)
        return dict(found)

    def in_order(self) -> list[tuple[int, int]]:
        """Part and row of each, the smallest value first."""
        return list(zip(self.shards.tolist(), self.rows.tolist(), strict=True))

    def _keep(self, values: np.ndarray, shards: np.ndarray, rows: np.ndarray) -> None:
        values, shards, rows = (
            np.concatenate([kept, new])
            for kept, new in ((self.values, values), (self.shards, shards), (self.rows, rows))
        )
        order = np.lexsort((rows, shards, values))[: self.most]
        self.values, self.shards, self.rows = values[order], shards[order], rows[order]
