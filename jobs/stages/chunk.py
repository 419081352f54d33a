"""The chunk stage: texts to chunk views."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from jobs.measures import FAST_OFF, SEGMENTS, SEGMENTS_FAST, add_measures
from jobs.model_source import ModelSource
from jobs.stages.columns import REASON, attach_views, bisect, quarantine
from strideformer.chunking import Chunker, ChunkViews

# Reason and detail of a document that is quarantined.
NO_TOKEN = ("empty_text", "the tokenizer finds no token in it")


@dataclass(frozen=True)
class Chunking:
    """How a job cuts documents; part of its fingerprint."""

    max_length: int
    stride: int
    max_chunks: int


class Chunk:
    """Texts → chunk views on their token ids, for one whole shard.

    Needs   _text: large_string, null where quarantined; _text_pair: large_string, for pairs
    Adds    _token_ids: large_list<uint16|uint32>, _chunk_starts, _chunk_lengths: large_list<int32>,
            _first_ids: large_list<uint16|uint32>, for pairs; truncated: bool; num_tokens: int64; num_chunks: int32;
            measures: chunk, segments, segments_fast, and fast_off where the faster tokenizer is
    Drops   _text, _text_pair
    Quarantines documents that the tokenizer refuses, with reason ``chunking_failed``, and those in which it finds no
    token, such as control characters alone, as ``empty_text``: a label of nothing would look like any other.
    """

    def __init__(self, model: ModelSource, chunking: Chunking) -> None:
        self.model = model
        self.chunking = chunking

    def __call__(self, documents: pa.Table) -> pa.Table:
        chunker = load_chunker(self.model, self.chunking)
        started = time.perf_counter()
        before = replace(chunker.fast_status)
        pair = "_text_pair" in documents.column_names
        texts = documents.column("_text").to_pylist()
        pairs = documents.column("_text_pair").to_pylist() if pair else None
        good = np.flatnonzero(documents.column(REASON).is_null().to_numpy())
        failures: dict[int, tuple[str, str]] = {}
        pieces: list[tuple[np.ndarray, ChunkViews]] = []

        def cut(start: int, end: int) -> None:
            rows = good[start:end]
            views = views_of(rows)
            without = np.diff(views.token_offsets) == 0
            if without.any():
                failures.update(dict.fromkeys(rows[without].tolist(), NO_TOKEN))
                rows = rows[~without]
                views = views_of(rows)
            pieces.append((rows, views))

        def views_of(rows: np.ndarray) -> ChunkViews:
            seconds = [pairs[row] for row in rows] if pairs is not None else None
            return chunker.views([texts[row] for row in rows], seconds)

        def failed(position: int, error: Exception) -> None:
            failures[int(good[position])] = ("chunking_failed", str(error))

        bisect(0, len(good), cut, failed)
        documents = quarantine(documents, failures)
        views = _scatter(pieces, documents.num_rows, chunker, pair)
        documents = attach_views(documents, views).append_column("num_tokens", pa.array(views.num_tokens))
        documents = documents.append_column("num_chunks", pa.array(views.chunk_counts.astype(np.int32)))
        documents = documents.drop_columns(["_text", "_text_pair"] if pair else ["_text"])
        status = chunker.fast_status
        measures: dict[str, float | str] = {SEGMENTS: status.asked - before.asked}
        measures[SEGMENTS_FAST] = status.fast - before.fast
        if status.state == "off":
            measures[FAST_OFF] = status.reason
        return add_measures(documents, chunk=time.perf_counter() - started, **measures)


@lru_cache(maxsize=2)
def load_chunker(model: ModelSource, chunking: Chunking) -> Chunker:
    """One chunker a process: a bare tokenizer file, so that a tokenising worker never loads torch's models."""
    folder = model.fetch()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Chunker(tokenizer, chunking.max_length, chunking.stride, chunking.max_chunks)


def _scatter(
    pieces: list[tuple[np.ndarray, ChunkViews]], num_documents: int, chunker: Chunker, pair: bool
) -> ChunkViews:
    """The pieces, in row order, as views of all rows; rows in no piece have no tokens and no chunks."""
    if not pieces:
        empty = chunker.views([], [] if pair else None)
        pieces = [(np.empty(0, np.int64), empty)]
    parts = [views for _, views in pieces]
    rows = np.concatenate([rows for rows, _ in pieces])

    def offsets(lengths: list[np.ndarray]) -> np.ndarray:
        full = np.zeros(num_documents + 1, np.int64)
        full[rows + 1] = np.concatenate(lengths)
        return np.cumsum(full)

    truncated = np.zeros(num_documents, bool)
    truncated[rows] = np.concatenate([part.truncated for part in parts])
    return ChunkViews(
        token_ids=np.concatenate([part.token_ids for part in parts]),
        token_offsets=offsets([np.diff(part.token_offsets) for part in parts]),
        chunk_starts=np.concatenate([part.chunk_starts for part in parts]),
        chunk_lengths=np.concatenate([part.chunk_lengths for part in parts]),
        chunk_offsets=offsets([np.diff(part.chunk_offsets) for part in parts]),
        truncated=truncated,
        first_ids=np.concatenate([p.first_ids for p in parts if p.first_ids is not None]) if pair else None,
        first_offsets=offsets([np.diff(p.first_offsets) for p in parts if p.first_offsets is not None])
        if pair
        else None,
    )
