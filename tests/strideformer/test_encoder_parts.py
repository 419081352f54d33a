from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from strideformer.encoder_parts import PACKED_TYPES, EncoderParts, parts_of
from strideformer.packed_attention import bias_by_place
from tests.strideformer.encoder_kinds import KINDS, OTHER, small


def found(model: PreTrainedModel) -> EncoderParts:
    parts = parts_of(model)
    assert parts is not None
    return parts


def test_every_kind_is_tried() -> None:
    assert {*KINDS} - {OTHER} == set(PACKED_TYPES)


@pytest.mark.parametrize("kind", list(PACKED_TYPES))
def test_all_weights_of_a_model_are_parts(kind: str) -> None:
    model = small(kind)
    parts = found(model)
    modules = [module for layer in parts.layers for module in vars(layer).values()]
    taken = sum(weight.numel() for module in [*modules, parts.norm] for weight in module.parameters())
    taken += sum(weight.numel() for weight in (parts.words, parts.places, parts.types) if weight is not None)
    wanted = {name: weight.numel() for name, weight in model.named_parameters()}
    wanted.pop("encoder.relative_attention_bias.weight", None)
    assert taken == sum(wanted.values())
    assert len(parts.layers) == 2
    assert parts.heads == 2
    assert parts.activation == "gelu"


def test_positions_start_after_the_padding_of_fairseq() -> None:
    assert found(small("bert")).first_position == 0
    assert found(small("distilbert")).first_position == 0
    assert found(small("roberta", pad_token_id=1)).first_position == 2
    assert found(small("roberta", pad_token_id=0)).first_position == 1
    assert found(small("mpnet")).first_position == 2


def test_the_bias_of_mpnet_is_its_own() -> None:
    model = small("mpnet", max_position_embeddings=300)
    bias = found(model).distance_bias
    assert bias is not None
    assert bias.shape == (2, 2 * 298 - 1)
    for length in (1, 7, 298):
        expected = model.encoder.compute_position_bias(torch.empty(1, length, 16))[0]
        torch.testing.assert_close(bias_by_place(bias, length), expected)


def test_what_computes_otherwise_has_no_parts() -> None:
    assert parts_of(small(OTHER)) is None
    assert parts_of(small("bert", hidden_act="relu")) is None
    assert parts_of(small("distilbert", hidden_act="relu")) is None
    assert parts_of(small("bert", is_decoder=True)) is None
    relative = small("bert")
    relative.config.position_embedding_type = "relative_key"
    assert parts_of(relative) is None
