"""Output folders as the classify and embed jobs leave them, written by the job's own sink without Ray or a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.corpus.pieces import Piece, to_table
from jobs.output.commit import Commit, embedded_schema, labelled_schema
from jobs.output.receipt import Receipt, add_up
from jobs.output.record import OutputFolder, job_id
from jobs.output.summary import success
from jobs.settings import ClassifySettings
from jobs.stages.aggregate import _label_columns, scores_type
from strideformer.predictions import LabelSpace

FINGERPRINT = {
    "model": "0123456789abcdef",
    "max_length": 384,
    "stride": 128,
    "max_chunks": 128,
    "number_of_input_files": 3,
    "input_bytes": 12_345_678,
}
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def write_output(
    url: str,
    scores: np.ndarray,
    names: Sequence[str],
    kind: str = SINGLE,
    *,
    ids: Sequence[str] | None = None,
    tokens: Sequence[int] | None = None,
    quarantined: Mapping[int, tuple[str, str]] | None = None,
    source: str = "s3://bucket/corpus/a.parquet",
    shard_rows: int = 4,
    committed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    encoded: Sequence[int] | None = None,
) -> OutputFolder:
    """What classify writes of documents with these (documents, labels) scores.

    Args:
        quarantined: reason and detail of documents, by their number.
        committed: shards that are there; with fewer than all the job was stopped.
    """
    number = len(scores)
    space = LabelSpace(tuple(names), kind)
    reasons = quarantined or {}
    lengths = np.asarray(tokens if tokens is not None else np.arange(number) * 400 + 100)
    documents = pa.table(
        {
            "doc_id": pa.array(ids if ids is not None else [f"d{index}" for index in range(number)], pa.string()),
            "source": [source] * number,
            "row": pa.array(range(number), pa.int64()),
            "num_tokens": pa.array(lengths, pa.int64()),
            "num_chunks": pa.array(np.minimum(np.maximum(-(-lengths // 256), 1), 128), pa.int32()),
            "truncated": pa.array(lengths > 128 * 256),
            "quarantine_reason": pa.array(
                [reasons.get(index, (None, None))[0] for index in range(number)], pa.string()
            ),
            "quarantine_detail": pa.array(
                [reasons.get(index, (None, None))[1] for index in range(number)], pa.string()
            ),
            **_label_columns(space, np.asarray(scores, np.float32)),
        }
    )
    if encoded is not None:
        documents = documents.append_column("chunks_encoded", pa.array(encoded, pa.int32()))
    label = documents.schema.field("label").type
    schema = labelled_schema(label, scores_type(space), pa.schema([]))
    given = {"inputs": ["s3://bucket/corpus"], "output": url, "model": "./checkpoint"} | dict(settings or {})
    record = {"fingerprint": FINGERPRINT, "settings": ClassifySettings(**given).model_dump()}
    return _write(url, documents, record, Commit(url, {}, job_id(FINGERPRINT), schema), shard_rows, committed)


def write_store(url: str, number: int, shard_rows: int = 4) -> OutputFolder:
    """What embed writes of documents of 100, 500, 900, … tokens, the first of them quarantined."""
    empty = pa.array([[]] * number)
    documents = pa.table(
        {
            "doc_id": [f"d{index}" for index in range(number)],
            "chunk_vectors": empty.cast(pa.large_list(pa.list_(pa.float16(), 2))),
            **{name: empty.cast(pa.large_list(pa.int32())) for name in ("chunk_starts", "chunk_lengths")},
            "token_bag_ids": empty.cast(pa.large_list(pa.uint32())),
            "token_bag_counts": empty.cast(pa.large_list(pa.int32())),
            "num_tokens": pa.array(np.arange(number) * 400 + 100, pa.int64()),
            "num_chunks": pa.array([1] * number, pa.int32()),
            "truncated": [False] * number,
            "source": ["a.parquet"] * number,
            "row": pa.array(range(number), pa.int64()),
            "label": ["of the corpus"] * number,
            "quarantine_reason": ["empty_text"] + [None] * (number - 1),
            "quarantine_detail": ["there is nothing in it"] + [None] * (number - 1),
        }
    )
    schema = embedded_schema(2, pa.schema([("label", pa.string())]))
    encoder = {"encoder": {"model": "minilm"}, "encoder_hash": "abc"}
    record = {"fingerprint": FINGERPRINT, "settings": {"inputs": ["a.parquet"], "model": "package:minilm"}} | encoder
    return _write(url, documents, record, Commit(url, {}, job_id(FINGERPRINT), schema, stores_vectors=True), shard_rows)


def _write(
    url: str, documents: pa.Table, record: dict[str, Any], commit: Commit, shard_rows: int, committed: int | None = None
) -> OutputFolder:
    folder = OutputFolder(url, {})
    starts = range(0, documents.num_rows, shard_rows)
    receipts, pieces = [], []
    for shard, start in enumerate(starts):
        block = documents.slice(start, shard_rows)
        rows = block.num_rows
        pieces.append(Piece(shard, "a.parquet", "parquet", "none", start, rows, None, None, 1, ""))
        if committed is None or shard < committed:
            block = block.append_column("_shard", pa.array([shard] * rows, pa.int64()))
            block = block.append_column("_shard_rows", pa.array([rows] * rows, pa.int64()))
            receipts.append(Receipt.from_json(commit(block).column("receipt")[0].as_py()))
    folder.write_plan(to_table(pieces))
    folder.write("_strideformer/job.json", json.dumps(record).encode())
    if committed is None:
        done = "embedded" if commit.stores_vectors else "labelled"
        quarantining = {receipt.shard for receipt in receipts if receipt.quarantined}
        folder.finish(success(add_up(receipts), 12.5, len(starts), done), quarantining)
    return folder


def confident(given: Sequence[int], labels: int, sure: Sequence[float] | float = 0.8) -> np.ndarray:
    """(documents, labels) probabilities, with these best and that sure."""
    number = len(given)
    best = np.broadcast_to(np.asarray(sure, float), (number,))
    scores = np.repeat((1 - best[:, None]) / max(1, labels - 1), labels, axis=1)
    scores[np.arange(number), given] = best
    return scores


def path_of(folder: OutputFolder) -> Path:
    """Where a local folder is."""
    return Path(folder.url)
