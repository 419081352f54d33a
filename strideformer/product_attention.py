"""Self-attention on a CPU by two matrix products, with powers of two in place of a softmax between them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from strideformer.chunk_batches import PackedChunks
from strideformer.packed_linear import onednn_linear

# Attention scores that are computed at once: those of two chunks of 384 tokens with 12 heads, 7 MB of bf16.
SCORES_AT_ONCE = 2 * 12 * 384**2
# Sums of 2^score of which the products with values neither overflow nor lose what is small.
LEAST_SUM, MOST_SUM = 2.0**-100, 2.0**100
# How far from 0 the largest scores of a head's rows may be before it gets a shift, and how far with it.
UNSHIFTED, SHIFTED = 64, 90
# Chunks of fewer tokens are left to torch's fused attention in float32: a call of oneDNN for each head costs them more
# than it saves (12 heads of 32 on a Zen 5: 1.15 times as long at 192 tokens, 0.85 at 256, 0.69 at 384, 0.6 at 512).
LEAST_TOKENS = 256


class AttentionByProducts(ABC):
    """Product, powers of two, product, over a few chunks of one length at a time: no padding, no mask.

    A softmax takes the largest score of each row off first, lest the exponential overflow, for which it reads the
    scores twice more; in bf16 that takes longer than either product. Here 2^score is taken as it is, and the contexts
    are divided by its sums. What is added to all scores of a row cancels. So a head whose largest scores are far from
    0 has a number, its shift, added to all its scores (in MiniLM-L6 one head of the first layer, of 20 to 128 in units
    of log 2). Where a sum shows that a chunk's scores are too large or too small all the same, it is given a softmax.

    The first call settles the shifts, and whether they suffice: by the random chunks of `packed_encoder`, so that they
    depend on the model alone.
    """

    def __init__(self) -> None:
        self.shifts: Tensor | None = None  # (heads,)
        self.shifted, self.bold = False, True

    def __call__(self, qkv: Tensor, chunks: PackedChunks) -> Tensor:
        heads, head_size = qkv.shape[2:]
        if self.shifts is None:
            self._settle(qkv[: chunks.runs[0][1]])
        contexts = qkv.new_empty((len(qkv), heads, head_size))
        start = 0
        for alike, length in chunks.runs:
            at_once = max(1, SCORES_AT_ONCE // (heads * length**2))
            for first in range(0, alike, at_once):
                few = min(at_once, alike - first)
                end = start + few * length
                grid = qkv[start:end].view(few, length, 3, heads, head_size).permute(2, 0, 3, 1, 4)
                contexts[start:end].view(few, length, heads, head_size).copy_(self._attend(*grid).transpose(1, 2))
                start = end
        contexts[start:] = 0
        return contexts.flatten(1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(few, heads, length, head_size) queries, keys and values to contexts of the same shape."""
        if self.bold and self.pays(query.shape[2]):
            contexts, sums = self.by_powers(query, key, value, query.shape[-1] ** -0.5 * math.log2(math.e))
            least, most = torch.aminmax(sums)
            if float(least) > LEAST_SUM and float(most) < MOST_SUM:
                return contexts
        return self.by_softmax(query, key, value)

    def _settle(self, qkv: Tensor) -> None:
        """Choose the shifts by the (length, 3, heads, head_size) queries and keys of one chunk."""
        query, key, _ = qkv.float().permute(1, 2, 0, 3)
        largest = (query @ key.transpose(1, 2)).amax(-1) * (query.shape[-1] ** -0.5 * math.log2(math.e))
        low, high = largest.aminmax(dim=-1)
        middle = ((low + high) / 2).round()
        shifts = torch.where(torch.maximum(low.abs(), high.abs()) > UNSHIFTED, -middle, 0.0)
        self.bold = bool(torch.maximum((low + shifts).abs(), (high + shifts).abs()).max() < SHIFTED)
        self.shifted = bool(shifts.any())
        self.shifts = shifts.to(qkv.dtype)

    def pays(self, length: int) -> bool:
        """Whether chunks of so many tokens are faster by powers."""
        return True

    @abstractmethod
    def by_powers(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Contexts, and the sums of 2^(scale × score + shift) over each row by which they were divided."""

    @abstractmethod
    def by_softmax(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Contexts of whatever scores."""


class BatchedProducts(AttentionByProducts):
    """All heads of a few chunks in each product, which in bf16 is oneDNN's."""

    def by_powers(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        powers = self._scores(query, key, scale, self.shifted).exp2_()
        sums = powers.sum(-1, keepdim=True)
        return torch.bmm(powers, value.flatten(0, 1)).div_(sums).view(value.shape), sums

    def by_softmax(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = self._scores(query, key, query.shape[-1] ** -0.5, shifted=False)
        shares = torch.softmax(scores, dim=-1, out=scores)
        return torch.bmm(shares, value.flatten(0, 1)).view(value.shape)

    def _scores(self, query: Tensor, key: Tensor, scale: float, shifted: bool) -> Tensor:
        """(few * heads, length, length) scores."""
        few = len(query)
        start = query.new_empty(())
        if shifted and self.shifts is not None:
            start = self.shifts.repeat(few)[:, None, None]
        rows, columns = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        return torch.baddbmm(start, rows, columns, beta=int(shifted), alpha=scale)


class ProductsByHead(AttentionByProducts):
    """A product for each head, which in float32 is the way to oneDNN's: torch's own are MKL's.

    The scores of one head are in the core's own cache between the products.
    """

    def pays(self, length: int) -> bool:
        return length >= LEAST_TOKENS

    def by_powers(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        few, heads, length, head_size = query.shape
        shifts: list[Tensor | None] = [None] * heads
        if self.shifted and self.shifts is not None:
            shifts = [torch.full((length,), shift) if shift else None for shift in self.shifts.tolist()]
        # As they lie in qkv oneDNN takes four times as long over the queries, and a thousand times over the keys.
        queries = torch.mul(query, scale, out=torch.empty_like(query, memory_format=torch.contiguous_format))
        keys, weights = key.contiguous(), value.contiguous().transpose(2, 3)
        contexts = query.new_empty((few, length, heads, head_size)).transpose(1, 2)
        # Not flattened: that would copy the contexts of several chunks, which are written to.
        by_head = [
            [head for chunk in of_all.unbind() for head in chunk.unbind()]
            for of_all in (queries, keys, weights, contexts)
        ]
        sums = []
        for rows, columns, weight, context, shift in zip(*by_head, shifts * few, strict=True):
            powers = onednn_linear(rows, columns, shift).exp2_()
            sums.append(powers.sum(-1, keepdim=True))
            torch.div(onednn_linear(powers, weight), sums[-1], out=context)
        return contexts, torch.stack(sums)

    def by_softmax(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value)
