"""Early exit: reading a document in rounds, a few chunks spread over all of it first, until its label is sure.

Only what decides is here: which chunks are read in which round, and which documents need another. Encoding and
aggregating are the caller's, so that the batch job can do them document by document where one fails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strideformer.chunking import ChunkViews
from strideformer.errors import StrideformerError
from strideformer.predictions import LabelSpace

# Chunks of a document that are read before anything is asked of them, and how many times as many each round has read
# when it ends. By fewer chunks a model that was calibrated on whole documents is too sure: reading 8 first gave 90 % of
# 480 SCOTUS arguments the label that they have when read whole, for 31 % of the chunks, and 97 % for 46 %; reading 4
# first, 90 % for 35 % and 96 % for 56 % (a small aggregator in three folds; tests.benchmarks.early_exit --first-round
# says it of any model). Doubling reads at most twice what was needed, in five rounds for 128 chunks.
FIRST_ROUND = 8
GROWTH = 2.0

# (chunks to encode now, chunks of the documents still open that are encoded then), both (num_chunks,) bool
# → (num_documents, num_labels) logits of those documents, NaN where a document failed.
Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def refuse_confidence(confidence: float, labels: LabelSpace) -> None:
    """Refuse what cannot be read until it is sure.

    Raises:
        StrideformerError: the confidence is not between 0 and 1, or the model is a regression.
    """
    if not 0 < confidence < 1:
        raise StrideformerError(f"early_exit={confidence} is no confidence: give one between 0 and 1, such as 0.95")
    if labels.problem_type == "regression":
        raise StrideformerError(
            "early exit goes by how sure a label is, and a regression does not say how sure it is: leave it out"
        )


def reading_order(num_chunks: int) -> np.ndarray:
    """(num_chunks,) int64, a permutation of which each beginning is spread evenly over the document.

    It is the bit-reversal order (van der Corput), stretched to any number of chunks: of 16 chunks 0, 8, 4, 12, 2, ….
    """
    bits = max(num_chunks - 1, 0).bit_length()
    ranks = np.arange(1 << bits)
    reversed_ranks = np.zeros_like(ranks)
    for bit in range(bits):
        reversed_ranks |= ((ranks >> bit) & 1) << (bits - 1 - bit)
    places = reversed_ranks * num_chunks >> bits  # meets every chunk, some of them twice
    _, first_met = np.unique(places, return_index=True)
    order: np.ndarray = places[np.sort(first_met)]
    return order[:num_chunks]


def reading_rounds(chunk_counts: np.ndarray, first_round: int = FIRST_ROUND, growth: float = GROWTH) -> np.ndarray:
    """(num_chunks,) int64: the round, from 0, in which each chunk of each document is read if it comes to that.

    Args:
        chunk_counts: (num_documents,) int64.
        first_round: chunks of a document in round 0.
        growth: how many times as many chunks are read at the end of a round as at the end of the one before.
    """
    ends = [first_round]  # chunks read when each round ends
    while ends[-1] < chunk_counts.max(initial=0):
        ends.append(max(ends[-1] + 1, int(ends[-1] * growth)))
    of_counts = {}
    for count in np.unique(chunk_counts).tolist():
        of_counts[count] = np.empty(count, np.int64)
        of_counts[count][reading_order(count)] = np.searchsorted(ends, np.arange(count), side="right")
    if not len(chunk_counts):
        return np.empty(0, np.int64)
    return np.concatenate([of_counts[count] for count in chunk_counts.tolist()])


def read_in_rounds(
    chunk_offsets: np.ndarray,
    labels: LabelSpace,
    confidence: float,
    step: Step,
    first_round: int = FIRST_ROUND,
    growth: float = GROWTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Read documents, each until its label is sure or all of it is read.

    A document without chunks is not read, and one whose logits are not finite is read no further.

    Args:
        chunk_offsets: (num_documents + 1,) int64, where each document's chunks start and end.
        labels: how logits become scores, and how sure these are.
        confidence: from which `LabelSpace.confidence` on a document is not read any further.
        step: encodes the chunks of a round, and aggregates what is encoded of the documents that are still open.
        first_round, growth: as in `reading_rounds`.

    Returns:
        (num_documents, num_labels) float32 logits, of the last round of each document, NaN where there is none; and
        (num_chunks,) bool, the chunks that were read.
    """
    counts = np.diff(chunk_offsets)
    owners = np.repeat(np.arange(len(counts)), counts)
    rounds = reading_rounds(counts, first_round, growth)
    last_round = np.full(len(counts), -1)
    np.maximum.at(last_round, owners, rounds)
    is_open = counts > 0
    read = np.zeros(len(owners), bool)
    logits = np.full((len(counts), len(labels.names)), np.nan, np.float32)
    for number in range(last_round.max(initial=-1) + 1):
        now = (rounds == number) & is_open[owners]
        if not now.any():
            break
        read |= now
        logits[is_open] = step(now, read & is_open[owners])[is_open]
        is_open &= (last_round > number) & np.isfinite(logits).all(axis=1)
        asked = np.flatnonzero(is_open)
        is_open[asked] = labels.confidence(labels.scores(logits[asked])) < confidence
    return logits, read


def tokens_read(views: ChunkViews, read: np.ndarray) -> np.ndarray:
    """(num_documents,) int64: the tokens of each document that lie in chunks that were read, each counted once.

    Args:
        views: the chunks.
        read: (num_chunks,) bool.
    """
    chunks = np.flatnonzero(read)
    owners = np.repeat(np.arange(views.num_documents), views.chunk_counts)[chunks]
    starts = views.chunk_starts[chunks].astype(np.int64)
    ends = starts + views.chunk_lengths[chunks]
    # Chunks of a document lie in its order, so what one shares with those before, it shares with the last of them.
    covered = np.zeros(len(chunks), np.int64)
    covered[1:] = np.where(owners[1:] == owners[:-1], ends[:-1], 0)
    tokens = np.zeros(views.num_documents, np.int64)
    np.add.at(tokens, owners, ends - np.maximum(starts, covered))
    return tokens
