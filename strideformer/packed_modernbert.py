"""PackedModernBert: the forward of ModernBERT over packed chunks, for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad
from transformers import PreTrainedModel

from strideformer.chunk_batches import PackedChunks
from strideformer.layers import LAST, layer_numbers
from strideformer.packed_attention import Attention, ChooseAttention
from strideformer.packed_linear import GELU_ALGORITHMS, ROWS_ON_CPU, Linear, PackedLinear, rows_of
from strideformer.rotary import Rotary

FULL, SLIDING = "full_attention", "sliding_attention"
# Added to scores of keys outside a sliding window.
OUTSIDE = -1e30


class PackedModernBert:
    """A ModernBERT's forward without padding (Warner et al. 2024, https://arxiv.org/abs/2412.13663).

    Norms come before attention and feed-forward, queries and keys are turned by their places, most layers attend
    within a window only, and half of the feed-forward's inside gates the other half.

    Use `packed_encoder`, which also checks it against the model that it was made of.

    Attributes:
        rows: what the number of rows of all products is a multiple of.
        first_position: the place of a chunk's first token.
    """

    first_position = 0

    def __init__(self, model: PreTrainedModel, choose: ChooseAttention) -> None:
        config: Any = model.config
        parts: Any = model
        self.heads = int(config.num_attention_heads)
        self.words = parts.embeddings.tok_embeddings.weight.detach()
        self.norm, self.last_norm = parts.embeddings.norm, parts.final_norm
        shape = (model.device, model.dtype, self.heads, config.hidden_size // self.heads)
        window = _window(config.max_position_embeddings, config.sliding_window)
        attend = {FULL: choose(*shape, None), SLIDING: choose(*shape, window.to(model.device, model.dtype))}
        rotary = {kind: _rotary(parts.rotary_emb, config, kind, self.words) for kind in set(config.layer_types)}
        self.layers = [
            _Layer(layer, config.hidden_activation, attend[layer.attention_type], rotary[layer.attention_type])
            for layer in parts.layers
        ]
        self.rows = ROWS_ON_CPU if self.words.device.type == "cpu" else 1

    @torch.inference_mode()
    def __call__(self, chunks: PackedChunks, layers: Sequence[int] = LAST) -> list[Tensor]:
        """(num_tokens, hidden_size) token states of each of these layers, in the model's number format.

        Layers above the last that is asked for are not run.
        """
        depth = len(self.layers)
        wanted = layer_numbers(layers, depth)
        num_tokens = len(chunks.input_ids)
        states = self.norm(embedding(chunks.input_ids, self.words))
        if self.rows > 1:
            states = pad(states, (0, 0, 0, -num_tokens % self.rows))
        found = {0: states[:num_tokens]}
        for number, layer in enumerate(self.layers[: max(wanted)], start=1):
            states = layer(states, chunks, self.heads)
            if number in wanted:
                found[number] = (self.last_norm(states) if number == depth else states)[:num_tokens]
        return [found[number] for number in wanted]


class _Layer:
    def __init__(self, layer: Any, activation: str, attend: Attention, rotary: Rotary) -> None:
        self.attend, self.rotary = attend, rotary
        self.attention_norm: nn.Module = layer.attn_norm
        self.qkv: Linear = PackedLinear([layer.attn.Wqkv])
        self.attention_output: Linear = PackedLinear([layer.attn.Wo])
        self.norm: nn.Module = layer.mlp_norm
        inner = layer.mlp.Wi.out_features // 2
        self.inside: Linear = PackedLinear([rows_of(layer.mlp.Wi, slice(inner))], activation)
        self.gate: Linear = PackedLinear([rows_of(layer.mlp.Wi, slice(inner, None))])
        self.output: Linear = PackedLinear([layer.mlp.Wo])

    def __call__(self, states: Tensor, chunks: PackedChunks, heads: int) -> Tensor:
        """(rows, hidden_size) to the same."""
        qkv = self.qkv(self.attention_norm(states)).view(len(states), 3, heads, -1)
        self.rotary(qkv, chunks.positions)
        states = self.attention_output(self.attend(qkv, chunks)).add_(states)
        normed = self.norm(states)
        return self.output(self.inside(normed).mul_(self.gate(normed))).add_(states)


def can_be_packed(config: Any) -> bool:
    """Whether a ModernBERT's config asks for nothing that is not here."""
    default = all(parameters["rope_type"] == "default" for parameters in config.rope_parameters.values())
    return default and config.hidden_activation in GELU_ALGORITHMS


def _window(most: int, reach: int) -> Tensor:
    """(1, 2 * most - 1) `EncoderParts.distance_bias` of keys at most so many places away."""
    distances = torch.arange(1 - most, most)
    return torch.where(distances.abs() <= reach, 0.0, OUTSIDE)[None]


def _rotary(embedding_of: Any, config: Any, kind: str, words: Tensor) -> Rotary:
    places = torch.arange(config.max_position_embeddings, device=words.device)[None]
    both_halves = embedding_of(words, places, kind)
    return Rotary(*(table[0, :, : table.shape[-1] // 2] for table in both_halves))
