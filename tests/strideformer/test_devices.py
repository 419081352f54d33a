"""Devices, number formats, and what of an encoder keeps its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
)

from strideformer.devices import cast_encoder, choose_device, choose_dtype
from strideformer.errors import StrideformerError

CPU = torch.device("cpu")
SIZES = {"vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
ENCODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(BertConfig(**SIZES), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=50, dim=64, n_layers=2, n_heads=2, hidden_dim=96)
    ),
    "mpnet": lambda: MPNetModel(MPNetConfig(**SIZES), add_pooling_layer=False),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**SIZES, pad_token_id=0, norm_bias=False)),
}


def test_devices_and_dtypes() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(StrideformerError, match="not one that torch knows"):
        choose_device("quantum")
    with pytest.raises(StrideformerError, match="dtype 'int4' is unknown"):
        choose_dtype("int4", CPU)
    assert choose_dtype("int8", CPU) is choose_dtype("auto", CPU)
    assert choose_dtype("auto", torch.device("cuda")) is torch.float16
    assert choose_dtype("auto", torch.device("cuda"), torch.bfloat16) is torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(StrideformerError, match="no CUDA GPU"):
            choose_device("cuda")


@pytest.mark.parametrize("kind", ENCODERS)
def test_norms_stay_exact_in_bf16_on_a_cpu(kind: str) -> None:
    torch.manual_seed(0)
    model = ENCODERS[kind]().eval()
    for norm in norms_of(model):  # trained ones are not all 1
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    ids = torch.randint(5, 50, (3, 12))
    with torch.inference_mode():
        expected = model(input_ids=ids).last_hidden_state
    exact = [norm.weight.detach().clone() for norm in norms_of(model)]
    assert cast_encoder(model, CPU, torch.bfloat16) is model
    assert model.dtype is torch.bfloat16
    for norm, before in zip(norms_of(model), exact, strict=True):
        torch.testing.assert_close(norm.weight, before, rtol=0, atol=0)
    with torch.inference_mode():
        kept = model(input_ids=ids).last_hidden_state
        rounded = model.to(torch.bfloat16)(input_ids=ids).last_hidden_state
    assert kept.dtype is torch.bfloat16
    assert (kept.float() - expected).abs().mean() < (rounded.float() - expected).abs().mean()


def test_other_formats_are_whole() -> None:
    for dtype in (torch.float32, torch.float16):
        model = cast_encoder(ENCODERS["bert"](), CPU, dtype)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def norms_of(model: PreTrainedModel) -> list[nn.LayerNorm]:
    return [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
