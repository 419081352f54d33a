"""The quarantine, added up: reasons, the files that have most of it, and a few documents of each reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.output.record import OutputFolder
from jobs.reporting.parts import take_rows

COLUMNS = ["reason", "source"]
OF_AN_EXAMPLE = ["doc_id", "source", "row", "reason", "detail"]
EXAMPLES_OF_A_REASON = 3
# A file's rows are in shards that follow each other: one that has few when this many are known will not have many.
MOST_SOURCES = 20_000
SOURCES_KEPT = 1_000


@dataclass
class Quarantined:
    """Quarantined documents, added up over parts in the order of their shards.

    Attributes:
        reasons, sources: documents by reason and by file, of the files those that have many.
        places: a few documents of each reason, by shard and row of its part.
        missing: parts of the quarantine that are not there though their shards have quarantined documents.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    missing: int = 0

    def add(self, batch: pa.RecordBatch, shard: int, first_row: int) -> None:
        """Count a batch of a part."""
        reasons = batch.column("reason")
        for reason, number in _counted(reasons):
            self.reasons[reason] += number
            if len(self.places[reason]) < EXAMPLES_OF_A_REASON:
                rows = pc.indices_nonzero(pc.equal(reasons, reason))[:EXAMPLES_OF_A_REASON].to_pylist()
                self.places[reason] += [(shard, first_row + row) for row in rows]
        self._count_sources(dict(_counted(batch.column("source"))))

    def merge(self, other: Quarantined) -> None:
        """Count what another, of later shards, has counted."""
        self.reasons.update(other.reasons)
        for reason, places in other.places.items():
            self.places[reason] = (self.places[reason] + places)[:EXAMPLES_OF_A_REASON]
        self._count_sources(other.sources)
        self.missing += other.missing

    def examples(self, folder: OutputFolder) -> dict[str, list[dict[str, Any]]]:
        """A few documents of each reason, the most frequent reason first."""
        rows: dict[int, list[int]] = defaultdict(list)
        for places in self.places.values():
            for shard, row in places[:EXAMPLES_OF_A_REASON]:
                rows[shard].append(row)
        found = take_rows(folder, "_quarantine", rows, OF_AN_EXAMPLE)
        return {
            reason: [found[place] for place in self.places[reason][:EXAMPLES_OF_A_REASON]]
            for reason, _ in self.reasons.most_common()
        }

    def _count_sources(self, counts: dict[str, int]) -> None:
        self.sources.update(counts)
        if len(self.sources) > MOST_SOURCES:
            self.sources = Counter(dict(self.sources.most_common(SOURCES_KEPT)))


def _counted(column: pa.Array) -> list[tuple[str, int]]:
    return [(str(entry["values"]), int(entry["counts"])) for entry in column.value_counts().to_pylist()]
