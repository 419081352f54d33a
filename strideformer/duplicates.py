"""Finding identical documents, so that each is encoded once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from strideformer.chunking import ChunkViews

# Ids of a document that go into its key, spread evenly from the first to the last: enough to tell almost all
# different documents of one length apart without reading the rest of them.
SAMPLED_IDS = 16


def first_alike(views: ChunkViews) -> np.ndarray:
    """The first document that each document is identical to: same token ids and, for pairs, same first ids.

    Only documents whose keys agree are compared, and those by all their bytes, so that no two different documents
    are ever taken for one. A document without chunks is identical to none.

    Returns:
        (num_documents,) int64, each document's own number where there is none like it before.
    """
    first = np.arange(views.num_documents)
    filled = np.flatnonzero(views.chunk_counts)
    _, group, sizes = np.unique(document_keys(views)[filled], return_inverse=True, return_counts=True)
    seen: dict[tuple[bytes, bytes, int], int] = {}
    for document in filled[sizes[group] > 1].tolist():
        ids = _ids_of(views.token_ids, views.token_offsets, document)
        first_ids = b"" if views.first_ids is None else _ids_of(views.first_ids, views.first_offsets, document)
        first[document] = seen.setdefault((ids, first_ids, int(views.chunk_counts[document])), document)
    return first


def document_keys(views: ChunkViews) -> np.ndarray:
    """(num_documents,) uint64 that are equal for identical documents, and seldom for others."""
    # Any odd multipliers would do; these are drawn so that sums of small ids do not meet.
    multipliers = np.random.default_rng(0).integers(2**63, size=2 * SAMPLED_IDS + 3, dtype=np.uint64) * 2 + 1
    keys: np.ndarray = views.chunk_counts.astype(np.uint64) * multipliers[0]
    keys += _sample_sums(views.token_ids, views.token_offsets, multipliers[1 : SAMPLED_IDS + 2])
    if views.first_ids is not None and views.first_offsets is not None:
        keys += _sample_sums(views.first_ids, views.first_offsets, multipliers[SAMPLED_IDS + 2 :])
    return keys


def without_repetitions(views: ChunkViews, first: np.ndarray) -> ChunkViews:
    """The views with the chunks of later identical documents left out; tokens are not copied, documents stay."""
    counts = views.chunk_counts
    repeated = first != np.arange(views.num_documents)
    if not repeated.any():
        return views
    kept = np.repeat(~repeated, counts)
    return replace(
        views,
        chunk_starts=views.chunk_starts[kept],
        chunk_lengths=views.chunk_lengths[kept],
        chunk_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(repeated, 0, counts))]),
    )


def chunks_with_repetitions(first: np.ndarray, chunk_offsets: np.ndarray, chunk_counts: np.ndarray) -> np.ndarray:
    """Where the chunks of every document lie among those that `without_repetitions` left.

    Args:
        first: (num_documents,) int64, as `first_alike` gives it.
        chunk_offsets: (num_documents + 1,) int64, of the views without repetitions.
        chunk_counts: (num_documents,) int64, of the views with them.

    Returns:
        (sum of chunk_counts,) int64.
    """
    ends = np.cumsum(chunk_counts)
    within = np.arange(chunk_counts.sum()) - np.repeat(ends - chunk_counts, chunk_counts)
    found: np.ndarray = np.repeat(chunk_offsets[first], chunk_counts) + within
    return found


def _sample_sums(ids: np.ndarray, offsets: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    lengths = np.diff(offsets)
    keys: np.ndarray = lengths.astype(np.uint64) * multipliers[0]
    if len(ids):
        steps = np.arange(SAMPLED_IDS)
        within = np.maximum(lengths - 1, 0)[:, None] * steps // (SAMPLED_IDS - 1)  # (num_documents, SAMPLED_IDS)
        sampled = ids[np.minimum(offsets[:-1, None] + within, len(ids) - 1)].astype(np.uint64)
        keys += np.where(lengths > 0, (sampled * multipliers[1:]).sum(axis=1, dtype=np.uint64), np.uint64(0))
    return keys


def _ids_of(ids: np.ndarray, offsets: np.ndarray | None, document: int) -> bytes:
    assert offsets is not None
    return ids[offsets[document] : offsets[document + 1]].tobytes()
