"""How long documents are, and what a chunking makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.model_source import ModelSource
from jobs.stages.chunk import Chunk, Chunking, load_chunker
from jobs.stages.columns import REASON, flat, with_columns
from strideformer.chunk_counts import chunk_counts, chunk_steps, usable_tokens

# Of a document that max_chunks cuts short, so much is tokenised beyond, and the rest taken to be like it.
COUNTED_CHARACTERS = 1_000_000
ENDLESS = 1 << 20  # chunks, more than so many characters can have


@dataclass(frozen=True)
class Reading:
    """What a chunking makes of documents, each (documents,): zeros where one is quarantined.

    Attributes:
        read: tokens that its chunks hold, each counted once.
        chunks: their number.
        again: tokens of the overlaps, each time that one is encoded beyond the first.
        encoded: tokens that the encoder sees: read, again, and what stands around the content of each chunk.
        truncated: whether its end is not read.
    """

    read: np.ndarray
    chunks: np.ndarray
    again: np.ndarray
    encoded: np.ndarray
    truncated: np.ndarray


@dataclass(frozen=True)
class Lengths:
    """Documents, tokenised.

    Attributes:
        chunked: as the job's chunk stage gives them.
        fit: (documents,) bool, whether it is on its way to the encoder.
        whole: (documents,) int64 tokens of all of it, whatever is read of it.
        content: (documents,) int64 tokens of it that a chunk may hold.
        asked: what the chunking makes of them that was asked for, as the job's chunk stage says.
        max_length: tokens of a chunk.
    """

    chunked: pa.Table
    fit: np.ndarray
    whole: np.ndarray
    content: np.ndarray
    asked: Reading
    max_length: int

    def under(self, stride: int, max_chunks: int) -> Reading:
        """What another stride and another most number of chunks would make of them."""
        usable = usable_tokens(self.content, stride, max_chunks)
        read = np.minimum(self.whole, usable)
        chunks = np.where(self.fit, chunk_counts(read, self.content, stride), 0)
        return reading(read, chunks, self.content, self.max_length, stride, self.whole > usable)


def measure(documents: pa.Table, model: ModelSource, chunking: Chunking) -> Lengths:
    """Chunk documents as the job would, and count how long they are beyond what it would read of them.

    Args:
        documents: as the job's read stage gives them.
    """
    chunked = Chunk(model, chunking)(documents)
    fit = chunked.column(REASON).is_null().to_numpy()
    pair = "_text_pair" in documents.column_names
    room = chunking.max_length - load_chunker(model, chunking).template(pair).num_special_tokens
    content = np.full(documents.num_rows, room)
    if pair:
        content = np.where(fit, content - np.diff(flat(chunked, "_first_ids")[0]), room)
    read, chunks = (chunked.column(name).to_numpy().astype(np.int64) for name in ("num_tokens", "num_chunks"))
    truncated = chunked.column("truncated").to_numpy()
    whole = read.copy()
    cut = np.flatnonzero(truncated)
    if len(cut):
        whole[cut] = np.maximum(_whole_lengths(documents.take(pa.array(cut)), model, chunking), read[cut] + 1)
    asked = reading(read, chunks, content, chunking.max_length, chunking.stride, truncated)
    return Lengths(chunked, fit, whole, content, asked, chunking.max_length)


def reading(
    read: np.ndarray, chunks: np.ndarray, content: np.ndarray, max_length: int, stride: int, truncated: np.ndarray
) -> Reading:
    """The reading of so many tokens in so many chunks."""
    again = np.maximum(chunks - 1, 0) * (content - chunk_steps(content, stride))
    return Reading(read, chunks, again, read + again + chunks * (max_length - content), truncated)


def _whole_lengths(documents: pa.Table, model: ModelSource, chunking: Chunking) -> np.ndarray:
    """(documents,) float64 tokens of all of each, by its first million characters where it has more."""
    name = "_text_pair" if "_text_pair" in documents.column_names else "_text"
    texts = documents.column(name)
    begins = pc.utf8_slice_codeunits(texts, 0, COUNTED_CHARACTERS)
    chunked = Chunk(model, replace(chunking, max_chunks=ENDLESS))(with_columns(documents, {name: begins}))
    longer = pc.utf8_length(texts).to_numpy() / np.maximum(pc.utf8_length(begins).to_numpy(), 1)
    return np.asarray(np.ceil(chunked.column("num_tokens").to_numpy() * longer))
