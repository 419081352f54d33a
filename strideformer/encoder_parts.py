"""The parts of BERT and its kin, by one name each: what `PackedEncoder` computes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from strideformer.packed_linear import GELU_ALGORITHMS


@dataclass(frozen=True)
class LayerParts:
    """One layer: attention and a feed-forward, each added to what it read, with a norm after it."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    attention_norm: nn.LayerNorm
    intermediate: nn.Linear
    output: nn.Linear
    output_norm: nn.LayerNorm


@dataclass(frozen=True)
class EncoderParts:
    """A whole encoder.

    Attributes:
        words, places: (vocab_size, hidden_size) and (positions, hidden_size) embeddings.
        first_position: the row of ``places`` that a chunk's first token has.
        types: (token types, hidden_size) embeddings, None where the model has none.
        norm: of their sum.
        layers: from the first to the last.
        heads: of each layer.
        activation: of the feed-forward, a key of GELU_ALGORITHMS.
        distance_bias: (heads, 2 * most - 1), or (1, …) for all heads, what is added to scores where the key comes
            ``most - 1`` places before the query, to as many after it, after they are divided by the root of the head
            size; None for most encoders.
    """

    words: Tensor
    places: Tensor
    first_position: int
    types: Tensor | None
    norm: nn.LayerNorm
    layers: list[LayerParts]
    heads: int
    activation: str
    distance_bias: Tensor | None = None


def parts_of(model: PreTrainedModel) -> EncoderParts | None:
    """The parts of a model, None where it is of another kind than those of PACKED_TYPES or computes otherwise.

    Raises:
        AttributeError: a part is not where this transformers should have it.
    """
    config = model.config
    find = PACKED_TYPES.get(config.model_type)
    if find is None or getattr(config, "is_decoder", False):
        return None
    # transformers dropped relative positions of BERT, but an old config.json may still ask for them.
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return None
    parts = find(model)
    return parts if parts.activation in GELU_ALGORITHMS else None


def _bert(model: Any) -> EncoderParts:
    embeddings, config = model.embeddings, model.config
    return EncoderParts(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        first_position=0,
        types=embeddings.token_type_embeddings.weight.detach(),
        norm=embeddings.LayerNorm,
        layers=[
            LayerParts(
                query=layer.attention.self.query,
                key=layer.attention.self.key,
                value=layer.attention.self.value,
                attention_output=layer.attention.output.dense,
                attention_norm=layer.attention.output.LayerNorm,
                intermediate=layer.intermediate.dense,
                output=layer.output.dense,
                output_norm=layer.output.LayerNorm,
            )
            for layer in model.encoder.layer
        ],
        heads=int(config.num_attention_heads),
        activation=config.hidden_act,
    )


def _roberta(model: Any) -> EncoderParts:
    """BERT's parts under BERT's names, but positions are numbered from ``padding_idx + 1`` on, as fairseq did."""
    parts = _bert(model)
    return EncoderParts(**vars(parts) | {"first_position": int(model.config.pad_token_id) + 1})


def _distilbert(model: Any) -> EncoderParts:
    embeddings, config = model.embeddings, model.config
    return EncoderParts(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        first_position=0,
        types=None,
        norm=embeddings.LayerNorm,
        layers=[
            LayerParts(
                query=layer.attention.q_lin,
                key=layer.attention.k_lin,
                value=layer.attention.v_lin,
                attention_output=layer.attention.out_lin,
                attention_norm=layer.sa_layer_norm,
                intermediate=layer.ffn.lin1,
                output=layer.ffn.lin2,
                output_norm=layer.output_layer_norm,
            )
            for layer in model.transformer.layer
        ],
        heads=int(config.n_heads),
        activation=config.activation,
    )


def _mpnet(model: Any) -> EncoderParts:
    """With a bias for the distance of two tokens, the same in every layer."""
    embeddings, config, encoder = model.embeddings, model.config, model.encoder
    first_position = embeddings.padding_idx + 1
    most = config.max_position_embeddings - first_position
    bias = encoder.relative_attention_bias.weight.detach()
    distances = torch.arange(1 - most, most, device=bias.device)
    return EncoderParts(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        first_position=first_position,
        types=None,
        norm=embeddings.LayerNorm,
        layers=[
            LayerParts(
                query=layer.attention.attn.q,
                key=layer.attention.attn.k,
                value=layer.attention.attn.v,
                attention_output=layer.attention.attn.o,
                attention_norm=layer.attention.LayerNorm,
                intermediate=layer.intermediate.dense,
                output=layer.output.dense,
                output_norm=layer.output.LayerNorm,
            )
            for layer in encoder.layer
        ],
        heads=int(config.num_attention_heads),
        activation=config.hidden_act,
        distance_bias=bias[encoder.relative_position_bucket(distances)].t().contiguous(),
    )


# Which function finds the parts, by transformers' model type.
PACKED_TYPES: dict[str, Callable[[Any], EncoderParts]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
}
