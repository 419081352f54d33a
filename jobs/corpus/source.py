"""The plan as Ray Data's input: one small block of pieces a shard, and the stage that reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.corpus.columns import InputColumns
from jobs.corpus.read import read_shard, unread
from jobs.corpus.refusal import OnBadFile
from jobs.measures import add_measures


def shard_blocks(plan: pa.Table, shards: Sequence[int]) -> Iterator[pa.Table]:
    """The pieces of each of these shards, as a table of its own."""
    order = plan.sort_by("shard").combine_chunks()
    numbers = order.column("shard").to_numpy()
    starts = np.searchsorted(numbers, shards, side="left")
    ends = np.searchsorted(numbers, shards, side="right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        # take() copies the few rows: a slice would carry the whole plan's buffers along
        yield order.take(np.arange(start, end))


@dataclass(frozen=True)
class Read:
    """The pieces of one shard → its documents.

    Needs   the columns of the plan
    Adds    doc_id, source: string; row, _shard, _shard_rows: int64; _text: large_string, null where quarantined;
            _text_pair: large_string, for pairs; quarantine_reason, quarantine_detail: string; the kept columns;
            measures: read

    Ray's own Parquet reader may give nothing of a corrupt file as success; here a shard either gives exactly its
    planned rows, fit or quarantined, or its task fails.

    Attributes:
        kept: new name of each kept column, by its name in the input.
        kept_schema: names and types of the kept columns in the input.
        on_bad_file: what becomes of a file that was changed, deleted or damaged since the plan.
    """

    columns: InputColumns
    kept: Mapping[str, str]
    kept_schema: pa.Schema
    options: Mapping[str, str]
    on_bad_file: OnBadFile = "quarantine"

    def __call__(self, pieces: pa.Table) -> pa.Table:
        started = time.perf_counter()
        documents = read_shard(
            pieces, self.columns, self.kept_schema, self.options, self.on_bad_file, renamed=self.kept
        )
        return add_measures(self._counted(pieces, documents), read=time.perf_counter() - started)

    def quarantined(self, pieces: pa.Table, reason: str, detail: str) -> pa.Table:
        """The same rows, unread, each quarantined for this reason."""
        documents = unread(pieces, self.columns, self.kept_schema, reason, detail, renamed=self.kept)
        return add_measures(self._counted(pieces, documents), read=0.0)

    def _counted(self, pieces: pa.Table, documents: pa.Table) -> pa.Table:
        planned = sum(pieces.column("num_rows").to_pylist())
        return documents.append_column("_shard_rows", pa.array(np.full(documents.num_rows, planned)))
