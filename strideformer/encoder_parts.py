"""The parts of BERT and its kin, by one name each: what `PackedEncoder` computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
        norm: of the sum of embeddings.
        layers: from the first to the last.
        heads: of each layer.
        activation: of the feed-forward, a key of GELU_ALGORITHMS.
        types: (token types, hidden_size) embeddings, None where the model has none.
        distance_bias: (heads, 2 * most - 1), or (1, …) for all heads, what is added to scores where the key comes
            ``most - 1`` places before the query, to as many after it, after they are divided by the root of the head
            size; None for most encoders.
    """

    words: Tensor
    places: Tensor
    first_position: int
    norm: nn.LayerNorm
    layers: list[LayerParts]
    heads: int
    activation: str
    types: Tensor | None = None
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


def _bert(model: Any, first_position: int = 0) -> EncoderParts:
    layers = _layers(
        model.encoder.layer,
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        intermediate="intermediate.dense",
        output="output.dense",
        output_norm="output.LayerNorm",
    )
    types = model.embeddings.token_type_embeddings.weight.detach()
    return _encoder(model, layers, first_position, types=types, activation=model.config.hidden_act)


def _roberta(model: Any) -> EncoderParts:
    """BERT's parts under BERT's names, but positions are numbered from ``padding_idx + 1`` on, as fairseq did."""
    return _bert(model, int(model.config.pad_token_id) + 1)


def _distilbert(model: Any) -> EncoderParts:
    layers = _layers(
        model.transformer.layer,
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        intermediate="ffn.lin1",
        output="ffn.lin2",
        output_norm="output_layer_norm",
    )
    return _encoder(model, layers, activation=model.config.activation)


def _mpnet(model: Any) -> EncoderParts:
    """With a bias for the distance of two tokens, the same in every layer."""
    encoder, first_position = model.encoder, model.embeddings.padding_idx + 1
    layers = _layers(
        encoder.layer,
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        intermediate="intermediate.dense",
        output="output.dense",
        output_norm="output.LayerNorm",
    )
    bias = encoder.relative_attention_bias.weight.detach()
    most = model.config.max_position_embeddings - first_position
    distances = torch.arange(1 - most, most, device=bias.device)
    distance_bias = bias[encoder.relative_position_bucket(distances)].t().contiguous()
    activation = model.config.hidden_act
    return _encoder(model, layers, first_position, activation=activation, distance_bias=distance_bias)


def _encoder(model: Any, layers: list[LayerParts], first_position: int = 0, **others: Any) -> EncoderParts:
    """With the embeddings, which all have under the same names."""
    embeddings = model.embeddings
    return EncoderParts(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        first_position=first_position,
        norm=embeddings.LayerNorm,
        layers=layers,
        heads=int(model.config.num_attention_heads),
        **others,
    )


def _layers(layers: Iterable[nn.Module], **names: str) -> list[LayerParts]:
    """The parts of each layer, by the names that they have in it."""
    return [LayerParts(**{part: layer.get_submodule(name) for part, name in names.items()}) for layer in layers]  # type: ignore[arg-type]


# Which function finds the parts, by transformers' model type.
PACKED_TYPES: dict[str, Callable[[Any], EncoderParts]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
}
