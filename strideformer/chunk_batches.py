"""Micro-batches of chunks, built on the device from views: special tokens, positions and masks by index arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from strideformer.chunk_template import ChunkTemplate
from strideformer.chunking import ChunkViews

# Of a slab, which takes some 100 MB of memory while it is made and 24 when it is.
SLAB_TOKENS = 1 << 20


@dataclass(frozen=True)
class PackedChunks:
    """The tokens of a micro-batch one chunk after the other, without padding.

    Attributes:
        input_ids, token_type_ids: (num_tokens,) int64, on the device.
        positions: (num_tokens,) int64, on the device, each token's place in its chunk.
        offsets: (num_chunks + 1,) int32, on the device, where each chunk starts and ends.
        num_chunks: chunks of the micro-batch.
        longest: tokens of its longest chunk.
        full: whether all its chunks are of that length.
        runs: (number of chunks, their length) of each run of chunks of one length, in order, on the host.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    positions: Tensor
    offsets: Tensor
    num_chunks: int
    longest: int
    full: bool
    runs: Sequence[tuple[int, int]]

    @cached_property
    def rows(self) -> Tensor:
        """(num_tokens,) int64, on the device, which chunk each token is of."""
        return torch.repeat_interleave(self.offsets.diff().to(torch.int64), output_size=len(self.input_ids))


@dataclass(frozen=True)
class Slab:
    """The tokens of many micro-batches, assembled at once: a third of a small encoder's launches are for that.

    Attributes:
        start, end: the sorted chunks that it holds.
        input_ids, token_type_ids, positions: as of `PackedChunks`.
        offsets: (chunks + 1,) int32, on the device.
    """

    start: int
    end: int
    input_ids: Tensor
    token_type_ids: Tensor
    positions: Tensor
    offsets: Tensor


class SortedChunks:
    """One call's token pool and its chunks, longest first, on the device.

    Everything crosses to the device here, in a few large copies, so that a micro-batch is a slice and the
    host never waits for the device between two of them.

    The pool is every document's content ids, followed (for pairs) by every document's first text.

    Args:
        views: all documents' views.
        chunks: (num_chunks,) int64, which chunks of the views; all of them if None.

    Attributes:
        order: (num_chunks,) int64 on the host: the place of each sorted chunk among those that were asked for.
        lengths: (num_chunks,) int64 on the host, special tokens included, sorted from long to short.
        ends: (num_chunks + 1,) int64 on the host, tokens of all sorted chunks before each.
        slab: the one that the last micro-batch was taken from.
    """

    slab: Slab | None = None

    def __init__(
        self, views: ChunkViews, template: ChunkTemplate, device: torch.device, chunks: np.ndarray | None = None
    ) -> None:
        chosen = np.arange(views.num_chunks) if chunks is None else chunks
        documents = np.repeat(np.arange(views.num_documents), views.chunk_counts)[chosen]
        content = views.chunk_lengths[chosen].astype(np.int64)
        starts = views.token_offsets[:-1][documents] + views.chunk_starts[chosen]
        head = np.full(len(chosen), len(template.prefix_ids), np.int64)
        pool = views.token_ids
        first_starts = None
        if views.first_ids is not None and views.first_offsets is not None:
            first_starts = views.first_offsets[:-1][documents] + len(pool)
            head = head + np.diff(views.first_offsets)[documents] + len(template.between_ids)
            pool = np.concatenate([pool, views.first_ids])
        lengths = head + content + len(template.suffix_ids)
        self.order = np.argsort(-lengths, kind="stable")
        self.lengths = lengths[self.order]
        self.ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

        def sent(values: np.ndarray) -> Tensor:
            return to_device(np.ascontiguousarray(values[self.order]), device)

        self.pool = token_pool(pool, device)
        self.starts = sent(starts)
        self.head = sent(head)
        self.content = sent(content)
        self.device_lengths = sent(lengths)
        self.device_order = to_device(self.order, device)
        self.first_starts = None if first_starts is None else sent(first_starts)


class ChunkAssembler:
    """Builds the input tensors of a micro-batch from sorted chunks and the special-token template."""

    def __init__(self, template: ChunkTemplate, pad_token_id: int, device: torch.device) -> None:
        self.template = template
        self.pad_token_id = pad_token_id
        self.device = device
        self._constants = {
            name: torch.tensor(getattr(template, name), dtype=torch.int64, device=device)
            for name in (
                "prefix_ids",
                "between_ids",
                "suffix_ids",
                "prefix_type_ids",
                "between_type_ids",
                "suffix_type_ids",
            )
        }

    def packed(self, chunks: SortedChunks, start: int, end: int) -> PackedChunks:
        """The sorted chunks ``[start, end)`` without padding."""
        slab = chunks.slab
        if slab is None or not slab.start <= start <= end <= slab.end:
            most = int(np.searchsorted(chunks.ends, chunks.ends[start] + SLAB_TOKENS, side="right")) - 1
            slab = chunks.slab = self._slab(chunks, start, max(end, most))
        longest, full = _shape(chunks, start, end)
        first, last = (int(chunks.ends[place] - chunks.ends[slab.start]) for place in (start, end))
        return PackedChunks(
            input_ids=slab.input_ids[first:last],
            token_type_ids=slab.token_type_ids[first:last],
            positions=slab.positions[first:last],
            offsets=slab.offsets[start - slab.start : end - slab.start + 1] - first,
            num_chunks=end - start,
            longest=longest,
            full=full,
            runs=runs_of_one_length(chunks.lengths[start:end]),
        )

    def _slab(self, chunks: SortedChunks, start: int, end: int) -> Slab:
        lengths = chunks.device_lengths[start:end]
        offsets = torch.zeros(end - start + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        num_tokens = int(chunks.ends[end] - chunks.ends[start])
        row = torch.repeat_interleave(lengths, output_size=num_tokens)  # (num_tokens,) which chunk
        column = torch.arange(num_tokens, device=self.device) - offsets[row]
        ids, types = self._tokens(chunks, row + start, column)
        return Slab(start, end, ids, types, column, offsets.to(torch.int32))

    def padded(self, chunks: SortedChunks, start: int, end: int) -> dict[str, Tensor]:
        """The sorted chunks ``[start, end)`` as keyword arguments of a transformers model.

        Returns:
            input_ids, token_type_ids and, unless all are of one length, attention_mask:
            (num_chunks, longest) int64.
        """
        longest, full = _shape(chunks, start, end)
        row = torch.arange(start, end, device=self.device).unsqueeze(1)  # (num_chunks, 1)
        column = torch.arange(longest, device=self.device).unsqueeze(0)  # (1, longest)
        ids, types = self._tokens(chunks, row, column)
        if full:
            return {"input_ids": ids, "token_type_ids": types}
        outside = column >= chunks.device_lengths[start:end].unsqueeze(1)
        ids.masked_fill_(outside, self.pad_token_id)
        types.masked_fill_(outside, 0)
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": (~outside).to(torch.int64)}

    def _tokens(self, chunks: SortedChunks, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and token types at ``column`` of the chunk ``row``, two int64 tensors that broadcast."""
        head = chunks.head[row]
        tail = head + chunks.content[row]
        last = chunks.pool.shape[0] - 1
        source = chunks.starts[row] + (column - head)
        ids = chunks.pool[source.clamp_(0, last)].to(torch.int64)
        types = torch.full_like(ids, self.template.content_type_id)
        self._put(ids, types, column - tail, "suffix")
        if chunks.first_starts is not None:
            prefix = len(self.template.prefix_ids)
            between = head - len(self.template.between_ids)  # where the first text ends
            first = (chunks.first_starts[row] + (column - prefix)).clamp_(0, last)
            before_content = column < between
            ids = torch.where(before_content, chunks.pool[first].to(torch.int64), ids)
            types = torch.where(before_content, self.template.first_type_id, types)
            self._put(ids, types, column - between, "between")
        self._put(ids, types, column, "prefix")
        return ids, types

    def _put(self, ids: Tensor, types: Tensor, position: Tensor, part: str) -> None:
        """Write a part's constants where ``position``, which broadcasts to ``ids``, counts 0, 1, … along it."""
        values = self._constants[f"{part}_ids"]
        if not len(values):
            return
        inside = (position >= 0) & (position < len(values))
        place = position.clamp(0, len(values) - 1)
        ids.copy_(torch.where(inside, values[place], ids))
        types.copy_(torch.where(inside, self._constants[f"{part}_type_ids"][place], types))


def runs_of_one_length(lengths: np.ndarray) -> list[tuple[int, int]]:
    """(how many, which length) of each run of equal numbers in (num_chunks,) integers."""
    ends = np.append(np.flatnonzero(np.diff(lengths)) + 1, len(lengths))
    return list(zip(np.diff(ends, prepend=0).tolist(), lengths[ends - 1].tolist(), strict=True))


def _shape(chunks: SortedChunks, start: int, end: int) -> tuple[int, bool]:
    longest = int(chunks.lengths[start])
    return longest, int(chunks.lengths[end - 1]) == longest


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
    if device.type == "cuda":
        # From pinned memory the copy needs no wait; the allocator keeps the memory until it is done.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def token_pool(ids: np.ndarray, device: torch.device) -> Tensor:
    """Unsigned ids as int32 on the device, at least one of them.

    They cross as they are, 2 bytes each for vocabularies under 65,536, seen as signed integers because torch
    computes with few unsigned types; the mask takes the sign back off.
    """
    if not len(ids):
        return torch.zeros(1, dtype=torch.int32, device=device)
    signed = ids.view(np.int16 if ids.dtype == np.uint16 else np.int32)
    mask = 0xFFFF if ids.dtype == np.uint16 else 0x7FFFFFFF
    return to_device(signed, device).to(torch.int32) & mask
