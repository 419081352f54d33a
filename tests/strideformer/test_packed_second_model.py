"""The layers of the aggregator without padding, against the same layers with it."""

from __future__ import annotations

import pytest
import torch

from strideformer import StrideformerConfig
from strideformer.packed_second_model import PackedSecondModel
from strideformer.second_model import SecondModel

COUNTS = torch.tensor([7, 1, 4, 7])


def second_model(**changes: object) -> tuple[SecondModel, str]:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    config = StrideformerConfig(**sizes | changes)
    model = SecondModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model, config.hidden_act


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("norm_position", ["post", "pre"])
@pytest.mark.parametrize("document_pooling", ["mean", "cls"])
@pytest.mark.parametrize("hidden_size", [24, 96])
def test_states_are_those_of_the_padded_layers(
    hidden_act: str, norm_position: str, document_pooling: str, hidden_size: int
) -> None:
    """Heads of 8, and of 32, for which there are kernels of our own."""
    model, activation = second_model(
        hidden_act=hidden_act, norm_position=norm_position, document_pooling=document_pooling, hidden_size=hidden_size
    )
    present = torch.arange(7) < COUNTS[:, None]
    states = torch.randn(4, 7, hidden_size) * present[..., None]
    with torch.inference_mode():
        expected = model(states, present)
    found = PackedSecondModel(model, activation)(states, present)
    _, places = model.with_document_vector(states, present)
    torch.testing.assert_close(found[places], expected[places], rtol=1e-4, atol=1e-5)
    assert not found[~places].any()


@pytest.mark.parametrize("hidden_act", ["gelu", "relu"])
def test_products_in_bf16_leave_sums_and_norms_in_fp32(hidden_act: str) -> None:
    model, activation = second_model(hidden_act=hidden_act, num_hidden_layers=12)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    present = torch.arange(7) < COUNTS[:, None]
    states = torch.randn(4, 7, 24) * present[..., None]
    exact = PackedSecondModel(model, activation)(states, present)
    mixed = PackedSecondModel(model, activation, torch.bfloat16)(states, present)
    whole = model.bfloat16()
    with torch.inference_mode():
        half = whole(states.bfloat16(), present).float()[present]
    assert mixed.dtype == torch.float32
    error, error_of_half = (mixed[present] - exact[present]).abs().mean(), (half - exact[present]).abs().mean()
    assert 0 < error < 0.6 * error_of_half


def test_documents_of_one_length_need_no_mask() -> None:
    model, activation = second_model()
    states, present = torch.randn(3, 5, 24), torch.ones(3, 5, dtype=torch.bool)
    with torch.inference_mode():
        expected = model(states, present)
    torch.testing.assert_close(PackedSecondModel(model, activation)(states, present), expected, rtol=1e-4, atol=1e-5)


def test_without_layers_the_states_stay_what_they_were() -> None:
    model, activation = second_model(num_hidden_layers=0)
    present = torch.arange(7) < COUNTS[:, None]
    states = torch.randn(4, 7, 24) * present[..., None]
    torch.testing.assert_close(PackedSecondModel(model, activation)(states, present), states, rtol=0, atol=0)
