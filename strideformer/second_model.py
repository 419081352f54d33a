"""The layers of the aggregator: a transformer encoder over chunk vectors, positions, and document pooling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.activations import ACT2FN

from strideformer.config import StrideformerConfig
from strideformer.errors import StrideformerError


class SecondModel(nn.Module):
    """A post-norm transformer encoder over padded sequences of chunk vectors.

    Its parameters are named ``layers.N.…`` as those of ``nn.TransformerEncoder``, and so as 0.2.0 saved them.
    """

    def __init__(self, config: StrideformerConfig) -> None:
        super().__init__()
        if config.hidden_act not in ACT2FN:
            raise StrideformerError(f"hidden_act={config.hidden_act!r} is unknown: use one of {', '.join(ACT2FN)}")
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func = checkpoint
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model=config.hidden_size,
                nhead=config.num_attention_heads,
                dim_feedforward=config.intermediate_size,
                dropout=config.dropout,
                # torch has a fused kernel for the activations that it knows by name
                activation=config.hidden_act if config.hidden_act in ("relu", "gelu") else ACT2FN[config.hidden_act],
                layer_norm_eps=config.layer_norm_eps,
                batch_first=True,
            )
            for _ in range(config.num_hidden_layers)
        )

    def forward(self, states: Tensor, padding: Tensor | None) -> Tensor:
        """One pass.

        Args:
            states: (documents, length, hidden_size).
            padding: (documents, length) bool, true where there is no chunk; None when nothing is padded.
        """
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                states = self._gradient_checkpointing_func(layer.__call__, states, None, padding)
            else:
                states = layer(states, src_key_padding_mask=padding)
        return states


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
        chunk_vectors: (num_chunks, hidden_size).
        chunk_counts: (documents,) int64, at least 1 each, adding up to num_chunks.

    Returns:
        (documents, longest, hidden_size) vectors, zero where padded, and (documents, longest) bool, true at chunks.
    """
    longest = int(chunk_counts.max())
    present = torch.arange(longest, device=chunk_counts.device).unsqueeze(0) < chunk_counts.unsqueeze(1)
    padded = chunk_vectors.new_zeros((len(chunk_counts), longest, chunk_vectors.shape[1]))
    padded = padded.masked_scatter(present.unsqueeze(-1), chunk_vectors)
    return padded, present
