"""Self-attention within each chunk of a packed micro-batch, by whichever kernel suits the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from strideformer.chunk_batches import PackedChunks
from strideformer.compiled_attention import compiled_attention

# Attention scores that products compute at once: those of two chunks of 384 tokens with 12 heads, 7 MB of bf16.
SCORES_AT_ONCE = 2 * 12 * 384**2

# (rows, 3, heads, head_size) queries, keys and values → (rows, heads * head_size) contexts. On a CPU there may be more
# rows than tokens, whose contexts are zeros.
Attention = Callable[[Tensor, PackedChunks], Tensor]


def choose_attention(device: torch.device, dtype: torch.dtype, heads: int, head_size: int) -> Attention:
    """The kernel for a device, number format and shape.

    CUDA in half precision has flash attention for packed sequences, which needs neither padding nor a mask. On a CPU
    it is a kernel of our own where there is one. Torch's gains nothing from bf16 (24 to 29 ms a layer for 8 chunks of
    384 tokens on a Zen 4, against 12.4 ms for two matrix products and a softmax); in fp32 it keeps the scores in cache
    (21 ms against 71 ms for the products that torch has, on a Zen 3).
    """
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16):
        return _packed_flash_attention()
    if device.type != "cpu":
        return attend_fused
    torchs = attend_by_products if dtype is torch.bfloat16 else attend_by_runs
    return compiled_attention(device, dtype, heads, head_size) or torchs


def attend_fused(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """Torch's fused attention on the padded grid."""
    num_tokens = len(chunks.input_ids)
    # each (num_chunks, heads, longest, head_size)
    query, key, value = _grid(qkv[:num_tokens], chunks).permute(2, 0, 3, 1, 4)
    context = scaled_dot_product_attention(query, key, value, attn_mask=_mask(chunks, qkv.dtype))
    contexts = _from_grid(context, chunks)
    return contexts if len(qkv) == num_tokens else pad(contexts, (0, 0, 0, len(qkv) - num_tokens))


def attend_by_runs(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """Torch's fused attention over the chunks of one length at a time: no padding, no mask."""
    return _by_runs(qkv, chunks, scaled_dot_product_attention)


def attend_by_products(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """Two matrix products with a softmax between, over a few chunks of one length at a time: no padding, no mask."""
    heads = qkv.shape[2]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, columns = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        scores = torch.baddbmm(query.new_empty(()), rows, columns, beta=0, alpha=query.shape[-1] ** -0.5)
        shares = torch.softmax(scores, dim=-1, out=scores)
        return torch.bmm(shares, value.flatten(0, 1)).view(value.shape)

    return _by_runs(qkv, chunks, attend, lambda length: max(1, SCORES_AT_ONCE // (heads * length**2)))


def _by_runs(
    qkv: Tensor,
    chunks: PackedChunks,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    at_once: Callable[[int], int] | None = None,
) -> Tensor:
    """Call ``attend`` on (few, heads, length, head_size) of chunks of one length, at most ``at_once(length)``."""
    heads, head_size = qkv.shape[2:]
    contexts = qkv.new_empty((len(qkv), heads, head_size))
    start = 0
    for alike, length in chunks.runs:
        most = alike if at_once is None else at_once(length)
        for first in range(0, alike, most):
            few = min(most, alike - first)
            end = start + few * length
            query, key, value = qkv[start:end].view(few, length, 3, heads, head_size).permute(2, 0, 3, 1, 4)
            contexts[start:end].view(few, length, heads, head_size).copy_(attend(query, key, value).transpose(1, 2))
            start = end
    contexts[start:] = 0
    return contexts.flatten(1)


def _packed_flash_attention() -> Attention:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return attend_fused

    def attend(qkv: Tensor, chunks: PackedChunks) -> Tensor:
        if chunks.full:
            return attend_fused(qkv, chunks)
        query, key, value = qkv.unbind(1)
        # By position only: its keyword arguments changed between versions of torch.
        context: Tensor = varlen_attn(  # type: ignore[assignment]
            query, key, value, chunks.offsets, chunks.offsets, chunks.longest, chunks.longest
        )
        return context.flatten(1)

    return attend


def _grid(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """(num_chunks, longest, 3, heads, head_size), zeros beyond each chunk's end."""
    shape = (chunks.num_chunks, chunks.longest, *qkv.shape[1:])
    if chunks.full:
        return qkv.view(shape)
    grid = qkv.new_zeros((chunks.num_chunks * chunks.longest, *qkv.shape[1:]))
    return grid.index_copy_(0, _cells(chunks), qkv).view(shape)


def _from_grid(context: Tensor, chunks: PackedChunks) -> Tensor:
    """(num_chunks, heads, longest, head_size) back to (num_tokens, heads * head_size)."""
    states = context.transpose(1, 2).reshape(chunks.num_chunks * chunks.longest, -1)
    return states if chunks.full else states.index_select(0, _cells(chunks))


def _cells(chunks: PackedChunks) -> Tensor:
    """(num_tokens,) int64, the row of each token in the flattened grid."""
    return chunks.rows * chunks.longest + chunks.positions


def _mask(chunks: PackedChunks, dtype: torch.dtype) -> Tensor | None:
    """(num_chunks, 1, 1, longest), the least finite number where a chunk has ended; None where none does."""
    if chunks.full:
        return None
    column = torch.arange(chunks.longest, device=chunks.offsets.device)
    outside = column >= chunks.offsets.diff().unsqueeze(1)
    mask = torch.zeros(outside.shape, dtype=dtype, device=outside.device)
    return mask.masked_fill_(outside, torch.finfo(dtype).min)[:, None, None]
