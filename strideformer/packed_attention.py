"""Self-attention within each chunk of a packed micro-batch, by whichever kernel suits the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
# From device, number format, heads, head size and `EncoderParts.distance_bias`.
ChooseAttention = Callable[[torch.device, torch.dtype, int, int, Tensor | None], Attention]


def choose_attention(
    device: torch.device, dtype: torch.dtype, heads: int, head_size: int, distance_bias: Tensor | None = None
) -> Attention:
    """The kernel for a device, number format and shape, and for `EncoderParts.distance_bias`.

    CUDA in half precision has flash attention for packed sequences, which needs neither padding nor a mask. On a CPU
    it is a kernel of our own where there is one. Torch's gains nothing from bf16 (24 to 29 ms a layer for 8 chunks of
    384 tokens on a Zen 4, against 12.4 ms for two matrix products and a softmax); in fp32 it keeps the scores in cache
    (21 ms against 71 ms for the products that torch has, on a Zen 3).
    """
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16):
        return _packed_flash_attention(distance_bias)
    if device.type != "cpu":
        return any_attention(device, dtype, heads, head_size, distance_bias)
    if kernel := compiled_attention(device, dtype, heads, head_size, distance_bias):
        return kernel
    return partial(attend_by_products if dtype is torch.bfloat16 else attend_by_runs, distance_bias=distance_bias)


def any_attention(
    device: torch.device, dtype: torch.dtype, heads: int, head_size: int, distance_bias: Tensor | None = None
) -> Attention:
    """The one that runs everywhere."""
    return partial(attend_fused, distance_bias=distance_bias)


def attend_fused(qkv: Tensor, chunks: PackedChunks, distance_bias: Tensor | None = None) -> Tensor:
    """Torch's fused attention on the padded grid."""
    num_tokens = len(chunks.input_ids)
    # each (num_chunks, heads, longest, head_size)
    query, key, value = _grid(qkv[:num_tokens], chunks).permute(2, 0, 3, 1, 4)
    mask = _mask(chunks, qkv.dtype)
    if distance_bias is not None:
        bias = bias_by_place(distance_bias, chunks.longest)
        mask = bias if mask is None else bias + mask
    context = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    contexts = _from_grid(context, chunks)
    return contexts if len(qkv) == num_tokens else pad(contexts, (0, 0, 0, len(qkv) - num_tokens))


def attend_by_runs(qkv: Tensor, chunks: PackedChunks, distance_bias: Tensor | None = None) -> Tensor:
    """Torch's fused attention over the chunks of one length at a time: no padding, no mask."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        bias = None if distance_bias is None else bias_by_place(distance_bias, query.shape[2])
        return scaled_dot_product_attention(query, key, value, attn_mask=bias)

    return _by_runs(qkv, chunks, attend)


def attend_by_products(qkv: Tensor, chunks: PackedChunks, distance_bias: Tensor | None = None) -> Tensor:
    """Two matrix products with a softmax between, over a few chunks of one length at a time: no padding, no mask."""
    heads = qkv.shape[2]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, columns = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        start = query.new_zeros(())
        if distance_bias is not None:
            start = bias_by_place(distance_bias.expand(heads, -1), query.shape[2]).repeat(len(query), 1, 1)
        scores = torch.baddbmm(start, rows, columns, beta=distance_bias is not None, alpha=query.shape[-1] ** -0.5)
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


def bias_by_place(distance_bias: Tensor, length: int) -> Tensor:
    """(heads, 2 * most - 1) by the distance from query to key to (heads, length, length) by query and key."""
    most = (distance_bias.shape[1] + 1) // 2
    # The window of the first query starts at the distance 0, that of the next one place before.
    return distance_bias.unfold(1, length, 1)[:, most - length : most].flip(1)


def _packed_flash_attention(distance_bias: Tensor | None) -> Attention:
    """It takes no bias: with one it is torch's fused attention on the padded grid."""
    if distance_bias is not None:
        return partial(attend_fused, distance_bias=distance_bias)
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
