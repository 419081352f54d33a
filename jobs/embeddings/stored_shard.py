"""The parts of a store of embeddings as the shards of another job: the plan, and the stage that reads one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.corpus.listing import InputFile
from jobs.corpus.pieces import PLAN_SCHEMA, Piece, from_rows, to_table
from jobs.embeddings.store import EmbeddingStore, read_part
from jobs.guard.isolation import ChildDiedError, start_child
from jobs.measures import add_measures
from jobs.output.commit import QUARANTINE_SCHEMA
from jobs.output.receipt import RECEIPT_KEY, Receipt
from jobs.output.record import OutputFolder
from jobs.stages.columns import BAG_COLUMNS, DETAIL, REASON, with_columns
from strideformer.errors import StrideformerError

# What the aggregate stage and the commit need of a stored document, beside the kept columns.
NEEDED = ["doc_id", "source", "row", "num_tokens", "num_chunks", "truncated", "chunk_vectors"]


def plan_store(store: EmbeddingStore, limit: int | None) -> pa.Table:
    """One shard a part, with the documents that the store quarantined, up to ``limit`` documents in all.

    Returns:
        One row a shard, as ``jobs.corpus.pieces.PLAN_SCHEMA``.
    """
    pieces: list[Piece] = []
    left = limit
    for part in store.parts:
        rows = part.receipt.documents if left is None else min(left, part.receipt.documents)
        if rows:
            file = part.file
            numbers = (len(pieces), file.source, file.format, file.compression, 0, rows)
            pieces.append(Piece(*numbers, None, None, file.size, file.modified))
        left = None if left is None else left - rows
    return to_table(pieces)


@dataclass(frozen=True)
class ReadStored:
    """One part of a store → its documents, as the encode stage gives them.

    Needs   the columns of the plan
    Adds    doc_id, source: string; row, num_tokens: int64; num_chunks: int32; truncated: bool; _chunk_vectors:
            large_list<fixed_size_list<float16, hidden_size>>; _token_bag_ids: large_list<uint32> and
            _token_bag_counts: large_list<int32>, with bags; _first_alike, the row itself, since every document of a
            store has its vectors; _shard, _shard_rows: int64; quarantine_reason, quarantine_detail: string; the kept
            columns; measures: read

    Documents that the store quarantined come along with their reasons, in the order of the corpus, so that a job
    over the store accounts for the whole corpus.

    Attributes:
        store: URL of the store.
        kept: new name of each kept column, by its name in the store.
        bags: whether the model reads which tokens a document has.
    """

    store: str
    kept: Mapping[str, str]
    options: Mapping[str, str]
    bags: bool = False

    def __call__(self, pieces: pa.Table) -> pa.Table:
        started = time.perf_counter()
        [piece] = from_rows(pieces.select(PLAN_SCHEMA.names).to_pylist())
        file = InputFile(piece.source, piece.size, piece.modified, piece.format, piece.compression)
        needed = [*NEEDED, *self._bag_columns]
        documents = read_part(file, self.options, list(dict.fromkeys([*needed, *self.kept])))
        receipt = Receipt.from_json(documents.schema.metadata[RECEIPT_KEY])
        documents = documents.replace_schema_metadata(None)
        if receipt.quarantined:
            documents = self._with_quarantined(documents, piece.source.rpartition("/")[2])
        else:
            for name in (REASON, DETAIL):
                documents = documents.append_column(name, pa.nulls(documents.num_rows, pa.string()))
        documents = documents.slice(0, piece.num_rows)
        kept = {new: documents.column(name) for name, new in self.kept.items()}  # one may be a column that is needed
        documents = documents.select([*needed, REASON, DETAIL])
        internal = {name: f"_{name}" for name in ("chunk_vectors", *self._bag_columns)}
        documents = documents.rename_columns([internal.get(name, name) for name in documents.column_names])
        documents = with_columns(documents, kept)
        rows = documents.num_rows
        added = {
            "_first_alike": np.arange(rows),
            "_shard": np.full(rows, piece.shard),
            "_shard_rows": np.full(rows, piece.num_rows),
        }
        documents = with_columns(documents, {name: pa.array(values) for name, values in added.items()})
        return add_measures(documents, read=time.perf_counter() - started)

    @property
    def _bag_columns(self) -> tuple[str, ...]:
        return BAG_COLUMNS if self.bags else ()

    def _with_quarantined(self, documents: pa.Table, part: str) -> pa.Table:
        filesystem, path = OutputFolder(self.store, self.options).at("_quarantine", part)
        quarantined = pq.read_table(path, filesystem=filesystem).replace_schema_metadata(None)
        quarantined = quarantined.select(QUARANTINE_SCHEMA.names).rename_columns(
            ["doc_id", "source", "row", REASON, DETAIL]
        )
        together = pa.concat_tables([documents, quarantined], promote_options="default").combine_chunks()
        # sources are planned in the order of their names, so this is the order of the corpus
        order = together.select(["source", "row"]).append_column("index", pa.array(np.arange(together.num_rows)))
        order = order.sort_by([("source", "ascending"), ("row", "ascending")])
        return together.take(order.column("index"))


def read_stored_isolated(
    pieces: pa.Table, read: ReadStored, arguments: tuple[Any, ...], timeout: float | None
) -> pa.Table:
    """What ReadStored makes of a part, in a child process.

    Raises:
        StrideformerError: the part kills its reader. It is no document's fault: the store is damaged. Or the child does
            not start.
    """
    child = start_child(type(read), arguments)
    try:
        return child.run(pieces, timeout)
    except ChildDiedError as error:
        source = pieces.column("source")[0].as_py()
        raise StrideformerError(
            f"{source} ends the process that reads it ({error}): delete it, and embed again with --resume"
        ) from error
    finally:
        child.close()
