"""Self-attention within each chunk of a packed micro-batch, by whichever kernel suits the device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from strideformer.chunk_batches import PackedChunks

# Attention scores that are computed at once on a CPU: those of one chunk of 384 tokens with 12 heads, 3.5 MB of bf16.
SCORES_IN_CACHE = 12 * 384**2
# Sums of 2^score of which the products with values neither overflow nor lose what is small.
LEAST_SUM, MOST_SUM = 2.0**-100, 2.0**100

# (num_tokens, 3, heads, head_size) queries, keys and values → (num_tokens, heads * head_size) contexts.
Attention = Callable[[Tensor, PackedChunks], Tensor]


def choose_attention(device: torch.device, dtype: torch.dtype) -> Callable[[], Attention]:
    """What makes the kernel of one layer, for a device and number format.

    CUDA in half precision has flash attention for packed sequences, which needs neither padding nor a mask.
    On a CPU the fused kernel gains nothing from bf16 (24 to 29 ms a layer for 8 chunks of 384 tokens on a Zen 4,
    against 12.4 ms for two matrix products and a softmax), but is the better one in fp32, where it keeps the
    scores in cache (21 ms against 71 ms on a Zen 3).
    """
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16):
        return _packed_flash_attention
    if device.type == "cpu":
        return AttentionByProducts if dtype is torch.bfloat16 else attention_by_runs
    return fused_attention


def fused_attention() -> Attention:
    """`attend_fused` for every layer."""
    return attend_fused


def attention_by_runs() -> Attention:
    """`attend_by_runs` for every layer."""
    return attend_by_runs


def attend_fused(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """Torch's fused attention on the padded grid."""
    query, key, value = _grid(qkv, chunks).permute(2, 0, 3, 1, 4)  # each (num_chunks, heads, longest, head_size)
    context = scaled_dot_product_attention(query, key, value, attn_mask=_mask(chunks, qkv.dtype))
    return _from_grid(context, chunks)


def attend_by_runs(qkv: Tensor, chunks: PackedChunks) -> Tensor:
    """Torch's fused attention over the chunks of one length at a time: no padding, no mask."""
    heads, head_size = qkv.shape[2:]
    contexts = qkv.new_empty((len(qkv), heads, head_size))
    start = 0
    for alike, length in chunks.runs:
        end = start + alike * length
        query, key, value = qkv[start:end].view(alike, length, 3, heads, head_size).permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(query, key, value).transpose(1, 2)
        contexts[start:end].view(alike, length, heads, head_size).copy_(found)
        start = end
    return contexts.flatten(1)


class AttentionByProducts:
    """Product, softmax, product, over a few chunks of one length at a time: no padding, no mask.

    The scores of each few go into the same memory, so that they stay in cache between the steps.

    A softmax subtracts the largest score of each row first, lest the exponential overflow. Few layers have such
    scores, and in bf16 reading them twice more takes longer than either product: so 2^score is taken as it is, and
    the contexts are divided by its sums. Where a sum shows that this was too bold, a softmax is taken instead, and
    from then on in this layer (in MiniLM-L6 in the first alone, whose scores reach 84).
    """

    bold = True

    def __call__(self, qkv: Tensor, chunks: PackedChunks) -> Tensor:
        heads, head_size = qkv.shape[2:]
        contexts = qkv.new_empty((len(qkv), heads, head_size))
        room = qkv.new_empty(max(SCORES_IN_CACHE, heads * chunks.longest**2))
        start = 0
        for alike, length in chunks.runs:
            at_once = max(1, SCORES_IN_CACHE // (heads * length**2))
            for first in range(0, alike, at_once):
                few = min(at_once, alike - first)
                end = start + few * length
                grid = qkv[start:end].view(few, length, 3, heads, head_size).permute(2, 0, 3, 1, 4)
                query, key, value = grid.reshape(3, few * heads, length, head_size)
                context = self._attend(query, key, value, room)
                found = context.view(few, heads, length, head_size).transpose(1, 2)
                contexts[start:end].view(few, length, heads, head_size).copy_(found)
                start = end
        return contexts.flatten(1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, room: Tensor) -> Tensor:
        """(rows, length, head_size) queries, keys and values to contexts of the same shape."""
        rows, length, head_size = query.shape
        scores = room[: rows * length**2].view(rows, length, length)
        scale = head_size**-0.5
        if self.bold:
            torch.baddbmm(scores, query, key.transpose(1, 2), beta=0, alpha=scale * math.log2(math.e), out=scores)
            torch.exp2(scores, out=scores)
            sums = scores.sum(-1, keepdim=True)
            least, most = torch.aminmax(sums)
            if float(least) > LEAST_SUM and float(most) < MOST_SUM:
                return torch.bmm(scores, value).div_(sums)
            self.bold = False
        torch.baddbmm(scores, query, key.transpose(1, 2), beta=0, alpha=scale, out=scores)
        return torch.bmm(torch.softmax(scores, dim=-1, out=scores), value)


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
