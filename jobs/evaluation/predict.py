"""Predictions straight from a checkpoint, on this machine and without Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import AutoConfig

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import make_plan
from jobs.corpus.read import read_shard
from jobs.corpus.source import shard_blocks
from jobs.embeddings.embed_preflight import encoder_of_checkpoint
from jobs.embeddings.store import EmbeddingStore
from jobs.embeddings.store_preflight import require_same_encoder
from jobs.output.predictions import Predictions, quarantined_ids
from jobs.output.record import OutputFolder
from jobs.stages.columns import bisect
from strideformer import Pipeline
from strideformer.aggregation import DocumentAggregator
from strideformer.aggregator import load_aggregator
from strideformer.devices import choose_device
from strideformer.locations import checkpoint_folder
from strideformer.predictions import LabelSpace

DOCUMENTS_AT_ONCE = 64
SECONDS_BETWEEN_LINES = 10.0


def predict_corpus(
    pipeline: Pipeline, inputs: Sequence[str], columns: InputColumns, file_format: str, options: Mapping[str, str]
) -> Predictions:
    """Label every document of a corpus, with the numbers that classify would write.

    Documents without usable text, that the model fails on or gives no finite logits for are quarantined, as there.

    Raises:
        StrideformerError: an input or column is missing.
        Exception: what the model raised, where it fails on every document.
    """
    plan = make_plan(list_inputs(inputs, options, file_format), columns, options)
    total = sum(plan.column("num_rows").to_pylist())
    ids: list[pa.Array] = []
    quarantined: list[pa.Array] = []
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    started = told = time.monotonic()
    for pieces in shard_blocks(plan, plan.column("shard").unique().to_pylist()):
        documents = read_shard(pieces, columns, pa.schema([]), options)
        fit = documents.column("quarantine_reason").is_null()
        quarantined.append(documents.column("doc_id").filter(pc.invert(fit)).combine_chunks())
        documents = documents.filter(fit)
        for start in range(0, documents.num_rows, DOCUMENTS_AT_ONCE):
            some = documents.slice(start, DOCUMENTS_AT_ONCE)
            logits, num_tokens, truncated = _run(pipeline, some)
            finite = np.isfinite(logits).all(axis=1)
            some_ids = some.column("doc_id").combine_chunks()
            ids.append(some_ids.filter(pa.array(finite)))
            quarantined.append(some_ids.filter(pa.array(~finite)))
            found.append((logits[finite], num_tokens[finite], truncated[finite]))
            if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                done = sum(map(len, ids)) + sum(map(len, quarantined))
                print(f"{done}/{total} documents in {told - started:.0f} s", file=sys.stderr)
    space = pipeline.label_space
    none = (np.empty((0, len(space.names)), np.float32), np.empty(0, np.int64), np.empty(0, bool))
    logits, num_tokens, truncated = (np.concatenate(parts) for parts in zip(none, *found, strict=True))
    scores, given = _scores(space, logits)
    return Predictions(
        url=", ".join(inputs),
        names=space.names,
        problem_type=space.problem_type,
        doc_ids=pa.concat_arrays([pa.array([], pa.string()), *ids]),
        scores=scores,
        given=given,
        num_tokens=num_tokens,
        truncated=truncated,
        quarantined=pa.concat_arrays([pa.array([], pa.string()), *quarantined]),
    )


def predict_store(store: EmbeddingStore, model: str, device: str, label_column: str | None) -> Predictions:
    """Label every document of a store of embeddings by a checkpoint's aggregator, as classify over it would.

    Args:
        store: of documents; those in its quarantine are quarantined here.
        model: the checkpoint.
        device: ``auto``, ``cpu``, ``cuda``, …
        label_column: kept one, to be read as the true labels.

    Raises:
        StrideformerError: the store's encoder is not the checkpoint's, or it kept no such column.
    """
    folder, _ = checkpoint_folder(model)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    require_same_encoder(store, encoder_of_checkpoint(folder)[0], model)
    columns = ["num_tokens", "truncated", *([] if label_column is None else [label_column])]
    bags = bool(config.bag_of_tokens)
    if bags:
        store.require_bags(model)
    documents = store.documents(columns, bags)
    aggregator = DocumentAggregator(load_aggregator(folder), choose_device(device))
    vectors = torch.from_numpy(documents.chunk_vectors)
    logits = aggregator(vectors, documents.chunk_offsets, bags=documents.bags).logits
    finite = np.isfinite(logits).all(axis=1)
    space = LabelSpace.of(config)
    scores, given = _scores(space, logits[finite])
    table = documents.columns.combine_chunks().filter(pa.array(finite))
    ids = documents.columns.column("doc_id").combine_chunks()
    lost = quarantined_ids(OutputFolder(store.url, store.options))
    return Predictions(
        url=store.url,
        names=space.names,
        problem_type=space.problem_type,
        doc_ids=table.column("doc_id").combine_chunks(),
        scores=scores,
        given=given,
        num_tokens=table.column("num_tokens").to_numpy(),
        truncated=table.column("truncated").to_numpy(zero_copy_only=False),
        quarantined=pa.concat_arrays([lost, ids.filter(pa.array(~finite))]),
        labels=None if label_column is None else table.column(label_column).combine_chunks(),
    )


def _scores(space: LabelSpace, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``Predictions`` has as scores and given, of (documents, num_labels) logits."""
    scores = space.scores(logits)
    if space.problem_type == "regression":
        return scores, scores
    given = space.labels(scores)
    return scores, given.argmax(axis=1) if space.problem_type == "single_label_classification" else given


def _run(pipeline: Pipeline, documents: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (NaN where the model fails on a document), tokens and truncation marks of some documents."""
    number = documents.num_rows
    logits = np.full((number, len(pipeline.label_space.names)), np.nan, np.float32)
    num_tokens, truncated = np.zeros(number, np.int64), np.zeros(number, bool)
    texts = documents.column("_text").to_pylist()
    seconds = documents.column("_text_pair").to_pylist() if "_text_pair" in documents.column_names else None

    def work(start: int, end: int) -> None:
        views = pipeline.encoder.chunker.views(texts[start:end], None if seconds is None else seconds[start:end])
        vectors = pipeline.encoder.encode_views(views).half()  # as classify rounds them
        logits[start:end] = pipeline.aggregator(vectors, views.chunk_offsets, bags=pipeline.bags(views)).logits
        num_tokens[start:end], truncated[start:end] = views.num_tokens, views.truncated

    errors: list[Exception] = []
    bisect(0, number, work, lambda row, error: errors.append(error))
    if number > 1 and len(errors) == number:
        raise errors[0]  # the fault is not theirs
    return logits, num_tokens, truncated
