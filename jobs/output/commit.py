"""Committing a shard: one deterministic object whose presence is the commit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.corpus.storage import resolve, write_atomically
from jobs.corpus.storage_errors import storage_error
from jobs.measures import DUPLICATES, FAST_OFF, NO_SECONDS, SEGMENTS, SEGMENTS_FAST, measures_of
from jobs.output.receipt import RECEIPT_KEY, Receipt

OWN_COLUMNS = (
    "doc_id",
    "label",
    "score",
    "scores",
    "num_tokens",
    "num_chunks",
    "chunks_encoded",
    "truncated",
    "source",
    "row",
)
EMBEDDED_COLUMNS = (
    "doc_id",
    "chunk_vectors",
    "chunk_starts",
    "chunk_lengths",
    "token_bag_ids",
    "token_bag_counts",
    "num_tokens",
    "num_chunks",
    "truncated",
    "source",
    "row",
)
# Vectors are as good as random bits: splitting float16 into its bytes is what compresses them at all. Of the 15.4 MB
# of 20,000 normalised vectors of 384, 13.0 were left, written in 0.22 s and read in 0.05 s; with a dictionary, the
# default, 14.5 MB, 0.83 s and 0.30 s (pyarrow 26, zstd).
VECTORS_IN_PARQUET = "chunk_vectors.list.element.list.element"
QUARANTINE_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
TEMPORARY_FOLDER = "_strideformer/tmp"


def labelled_schema(label: pa.DataType, scores: pa.DataType, kept: pa.Schema) -> pa.Schema:
    """The schema of every labelled part of a job, with rows in it or not."""
    types = {
        "doc_id": pa.string(),
        "label": label,
        "score": pa.float32(),
        "scores": scores,
        "num_tokens": pa.int64(),
        "num_chunks": pa.int32(),
        "chunks_encoded": pa.int32(),
        "truncated": pa.bool_(),
        "source": pa.string(),
        "row": pa.int64(),
    }
    return pa.schema([*types.items(), *((field.name, field.type) for field in kept)])


def embedded_schema(hidden_size: int, kept: pa.Schema) -> pa.Schema:
    """The schema of every part of a store of embeddings: chunk vectors with their places, and tokens."""
    spans = pa.large_list(pa.int32())
    types = {
        "doc_id": pa.string(),
        "chunk_vectors": pa.large_list(pa.list_(pa.float16(), hidden_size)),
        "chunk_starts": spans,
        "chunk_lengths": spans,
        "token_bag_ids": pa.large_list(pa.uint32()),
        "token_bag_counts": pa.large_list(pa.int32()),
        "num_tokens": pa.int64(),
        "num_chunks": pa.int32(),
        "truncated": pa.bool_(),
        "source": pa.string(),
        "row": pa.int64(),
    }
    return pa.schema([*types.items(), *((field.name, field.type) for field in kept)])


def part_name(shard: int) -> str:
    """The file name of a shard, the same under OUTPUT/ and OUTPUT/_quarantine/."""
    return f"part-{shard:08d}.parquet"


@dataclass(frozen=True)
class Commit:
    """One whole labelled (or embedded) shard → its files under OUTPUT, and a receipt.

    Needs   the columns of ``schema`` (chunks_encoded only where it is not num_chunks), quarantine_reason,
            quarantine_detail, _shard, _shard_rows
    Gives   one row: shard: int64, receipt: string (JSON)

    The quarantine is written first and the labelled part last, since the part's presence is the commit.
    Writing a shard twice writes the same objects again. A write that fails is a StrideformerError.

    Attributes:
        metadata: what each part's footer says beside its receipt.
        stores_vectors: whether these are parts of a store of embeddings, whose label columns are the input's.
    """

    output: str
    options: Mapping[str, str]
    job: str
    schema: pa.Schema
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    stores_vectors: bool = False

    def __call__(self, documents: pa.Table) -> pa.Table:
        started = time.perf_counter()
        shard = whole_shard(documents)
        if "chunks_encoded" not in documents.column_names:
            documents = documents.append_column("chunks_encoded", documents.column("num_chunks"))
        bad = documents.column("quarantine_reason").is_valid()
        labelled = documents.filter(pc.invert(bad)).select(self.schema.names).cast(self.schema)
        quarantined = documents.filter(bad)
        receipt = receipt_of(shard, self.job, labelled, quarantined, measures_of(documents), not self.stores_vectors)
        if quarantined.num_rows:
            table = quarantined.select(["doc_id", "source", "row", "quarantine_reason", "quarantine_detail"])
            table = table.rename_columns(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)
            self._publish(f"_quarantine/{part_name(shard)}", _parquet(table, receipt, self.metadata))
        self._publish(part_name(shard), _parquet(labelled, receipt, self.metadata, self.stores_vectors))
        receipt = replace(receipt, seconds=receipt.seconds | {"write": time.perf_counter() - started})
        return pa.table({"shard": [shard], "receipt": [receipt.to_json()]})

    def _publish(self, name: str, content: pa.Buffer) -> None:
        filesystem, root = resolve(self.output, self.options)
        try:
            write_atomically(filesystem, f"{root}/{name}", content, temporary_folder=f"{root}/{TEMPORARY_FOLDER}")
        except Exception as error:  # fsspec's backends raise types of their own
            raise storage_error(error, f"{self.output}/{name}") from error


def whole_shard(documents: pa.Table) -> int:
    """The number of the shard that a block holds, checked against the rows the plan gave it.

    The read stage writes the planned row count beside the shard number, so a block that Ray merged, cut or
    lost rows of cannot pass.
    """
    shards = documents.column("_shard").unique().to_pylist()
    planned = documents.column("_shard_rows").unique().to_pylist()
    if len(shards) != 1 or planned != [documents.num_rows]:
        raise AssertionError(
            f"a block holds {documents.num_rows} rows of shards {shards} where the plan says {planned}: "
            f"please report this as a bug of strideformer"
        )
    return int(shards[0])


def receipt_of(
    shard: int, job: str, labelled: pa.Table, quarantined: pa.Table, measures: Mapping[str, Any], gives_labels: bool
) -> Receipt:
    """Count what a shard's two files hold, and note what the stages measured."""
    encoded = "chunks_encoded" if gives_labels else "num_chunks"
    return Receipt(
        shard=shard,
        job=job,
        documents=labelled.num_rows + quarantined.num_rows,
        labelled=labelled.num_rows,
        quarantined=quarantined.num_rows,
        tokens=pc.sum(labelled.column("num_tokens")).as_py() or 0,
        chunks=pc.sum(labelled.column("num_chunks")).as_py() or 0,
        chunks_encoded=pc.sum(labelled.column(encoded)).as_py() or 0,
        truncated=pc.sum(labelled.column("truncated")).as_py() or 0,
        label_counts=_counts(labelled.column("label")) if gives_labels else {},
        reasons=_counts(quarantined.column("quarantine_reason")),
        duplicates=int(measures.get(DUPLICATES, 0)),
        segments=int(measures.get(SEGMENTS, 0)),
        segments_fast=int(measures.get(SEGMENTS_FAST, 0)),
        fast_off={measures[FAST_OFF]: 1} if FAST_OFF in measures else {},
        seconds={name: round(taken, 6) for name, taken in measures.items() if name not in NO_SECONDS},
        files_quarantined=quarantined.column("row").null_count,
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    counted = column.value_counts().to_pylist()
    return {str(entry["values"]): int(entry["counts"]) for entry in counted if entry["values"] is not None}


def _parquet(
    table: pa.Table, receipt: Receipt, metadata: Mapping[bytes, bytes], stores_vectors: bool = False
) -> pa.Buffer:
    table = table.replace_schema_metadata({**metadata, RECEIPT_KEY: receipt.to_json().encode()})
    sink = pa.BufferOutputStream()
    vectors: dict[str, Any] = {}
    if stores_vectors:
        others = [name for name in table.column_names if name != "chunk_vectors"]
        vectors = {"use_dictionary": others, "column_encoding": {VECTORS_IN_PARQUET: "BYTE_STREAM_SPLIT"}}
    pq.write_table(table, sink, compression="zstd", **vectors)
    return sink.getvalue()
