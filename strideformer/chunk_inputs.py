"""From a document's chunk vectors to what the second model reads: scale, width, dropout and positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from strideformer.aggregator_options import LEARNED_POSITIONS
from strideformer.config import StrideformerConfig
from strideformer.errors import StrideformerError

# Chunks after which the running mean forgets, so that it can follow a first model that is trained too.
MEMORY = 1_000_000
# The least deviation that a feature is divided by; those of MiniLM's vectors of length 1 are about 0.05.
LEAST_DEVIATION = 1e-4


class ChunkInputs(nn.Module):
    """Chunk vectors of padded documents, scaled, projected to the second model's width, with positions added."""

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__()
        width = config.chunk_vector_size
        self.max_chunks = config.max_chunks
        self.positions = config.chunk_positions
        self.scale_to_length = config.chunk_vector_norm == "length"
        self.norm: nn.Module = nn.Identity()
        if config.chunk_vector_norm == "layer":
            self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        elif config.chunk_vector_norm == "standard":
            self.norm = Standardization(width)
        self.projection: nn.Module = nn.Identity()
        if config.hidden_size != width:
            self.projection = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.input_dropout)
        if config.chunk_positions in LEARNED_POSITIONS:
            self.positions_from_start = nn.Embedding(config.max_chunks, config.hidden_size)
        if config.chunk_positions == "both_ends":
            self.positions_from_end = nn.Embedding(config.max_chunks, config.hidden_size)

    def scaled(self, chunk_vectors: Tensor) -> Tensor:
        """(num_chunks, width) vectors as the first model gives them, to the scale of ``chunk_vector_norm``."""
        if self.scale_to_length:
            return normalize(chunk_vectors.float(), dim=-1)
        if isinstance(self.norm, nn.LayerNorm):
            chunk_vectors = chunk_vectors.to(self.norm.weight.dtype)
        vectors: Tensor = self.norm(chunk_vectors)
        return vectors

    def forward(self, vectors: Tensor, chunk_counts: Tensor, places: Tensor | None = None) -> Tensor:
        """Project, and add positions.

        Args:
            vectors: (documents, longest, width), scaled.
            chunk_counts: (documents,) int64, the chunks of each whole document.
            places: (documents, longest) int64, which chunk of its document each is; None: they are all there, in order.

        Returns:
            (documents, longest, hidden_size) inputs of the second model.

        Raises:
            StrideformerError: a document has more chunks than there are learned positions.
        """
        inputs: Tensor = self.projection(self.dropout(vectors))
        if self.positions == "none":
            return inputs
        furthest = vectors.shape[1] if places is None else int(places.max()) + 1
        if places is None:
            places = torch.arange(furthest, device=vectors.device).unsqueeze(0)  # (1, longest), the same for all
        if self.positions == "sinusoidal":
            return inputs + sinusoidal_positions(furthest, inputs.shape[-1], inputs)[places]
        if furthest > self.max_chunks:
            raise StrideformerError(
                f"a document has {furthest} chunks but there are positions for max_chunks={self.max_chunks}: cut it"
            )
        inputs = inputs + self.positions_from_start(places)
        if self.positions == "both_ends":
            inputs = inputs + self.positions_from_end((chunk_counts.unsqueeze(1) - 1 - places).clamp(min=0))
        return inputs


class Standardization(nn.Module):
    """Each feature less its mean, divided by its standard deviation, over all chunks seen in training.

    The running figures are used in training as well, unlike in batch normalisation: in a step of one document its own
    mean, which is what tells its class, would be taken from it.
    """

    mean: Tensor
    deviation: Tensor
    seen: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, vectors: Tensor) -> Tensor:
        """(num_chunks, width) of any floating type, to float32: features with a large mean have no digits to lose."""
        wide = vectors.float()
        if self.training:
            self._learn(wide.detach())
        return (wide - self.mean.float()) / self.deviation.float().clamp(min=LEAST_DEVIATION)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """``to`` and its like, which move the figures but leave them in float32."""
        exact = {name: buffer for name, buffer in self.named_buffers() if buffer.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            if not buffer.is_meta:
                setattr(self, name, buffer.to(getattr(self, name).device))
        return self

    @torch.no_grad()
    def _learn(self, vectors: Tensor) -> None:
        """Merge mean and variance of these chunks into those of all before them (Chan et al. 1979)."""
        share = len(vectors) / (self.seen + len(vectors))
        variance, mean = torch.var_mean(vectors, dim=0, correction=0)
        apart = mean - self.mean
        merged = (1 - share) * self.deviation**2 + share * variance + share * (1 - share) * apart**2
        self.mean += share * apart
        self.deviation.copy_(merged.sqrt())
        self.seen.copy_((self.seen + len(vectors)).clamp(max=MEMORY))


def sinusoidal_positions(length: int, hidden_size: int, like: Tensor) -> Tensor:
    """(length, hidden_size) positions of Vaswani et al. 2017, section 3.5, in the device and type of ``like``."""
    position = torch.arange(length, device=like.device, dtype=torch.float32).unsqueeze(1)
    step = torch.arange(0, hidden_size, 2, device=like.device, dtype=torch.float32)
    angle = position * torch.exp(step * (-math.log(10_000.0) / hidden_size))
    table = torch.zeros(length, hidden_size, device=like.device, dtype=torch.float32)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : hidden_size // 2]
    return table.to(like.dtype)


def pad_documents(chunk_vectors: Tensor, chunk_counts: Tensor) -> tuple[Tensor, Tensor]:
    """Chunks of ragged documents, one after the other, as padded rows.

    Args:
        chunk_vectors: (num_chunks, width).
        chunk_counts: (documents,) int64, at least 1 each, adding up to num_chunks.

    Returns:
        (documents, longest, width) vectors, zero where padded, and (documents, longest) bool, true at chunks.
    """
    longest = int(chunk_counts.max())
    present = torch.arange(longest, device=chunk_counts.device).unsqueeze(0) < chunk_counts.unsqueeze(1)
    padded = chunk_vectors.new_zeros((len(chunk_counts), longest, chunk_vectors.shape[1]))
    padded = padded.masked_scatter(present.unsqueeze(-1), chunk_vectors)
    return padded, present


def drop_chunks(present: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Leave a random share of the chunks out, so that nothing is computed for them.

    Args:
        present: (documents, longest) bool, true at chunks.
        share: of them to leave out; a document that would lose all keeps all.

    Returns:
        (documents, most that are left) bool, true at chunks, and the same of int64: which chunk of the ``longest`` each
        is, in their order; of no meaning where it is none.
    """
    kept = present & (torch.rand(present.shape, device=present.device) >= share)
    kept = torch.where(kept.any(dim=1, keepdim=True), kept, present)
    order = kept.byte().argsort(dim=1, descending=True, stable=True)[:, : int(kept.sum(dim=1).max())]
    return kept.gather(1, order), order


def put_back(values: Tensor, order: Tensor, longest: int) -> Tensor:
    """(documents, most that are left, width) values to (documents, longest, width), 0 at what was left out."""
    whole = values.new_zeros((len(values), longest, values.shape[-1]))
    return whole.scatter(1, order.unsqueeze(-1).expand_as(values), values)
