from __future__ import annotations

import pytest
import torch

from strideformer.training import options
from strideformer.training.options import (
    TrainingOptions,
    choose_precision,
    choose_training_attention,
    fit_to_device,
)
from tests.strideformer.small_models import COUNTS, chunks, close, make

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "has_it", "trains_first_model", "precision"),
    [
        (CPU, True, True, "bf16"),
        (CPU, False, True, "no"),
        (CUDA, True, True, "bf16"),
        (CUDA, False, True, "no"),
        (torch.device("mps"), True, True, "no"),
        (CPU, True, False, "no"),
        (CUDA, True, False, "no"),
    ],
)
def test_half_precision_where_an_encoder_is_trained_and_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, has_it: bool, trains_first_model: bool, precision: str
) -> None:
    monkeypatch.setattr(options, "cpu_multiplies_bf16", lambda: has_it)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_it)
    assert choose_precision("auto", device, trains_first_model) == precision
    assert choose_precision("fp16", device, trains_first_model) == "fp16", "what was asked for"


@pytest.mark.parametrize(
    ("device", "precision", "attention"),
    [(CPU, "bf16", "eager"), (CPU, "no", "sdpa"), (CUDA, "bf16", "sdpa")],
)
def test_attention_by_products_on_a_cpu_in_bf16_alone(device: torch.device, precision: str, attention: str) -> None:
    model, inputs = make(), chunks()
    expected = model(**inputs, chunk_counts=COUNTS).logits
    choose_training_attention(model.first_model, device, precision)
    assert model.first_model.config._attn_implementation == attention
    close(model(**inputs, chunk_counts=COUNTS).logits, expected)


@pytest.mark.parametrize(("frozen", "precision", "attention"), [(True, "no", "sdpa"), (False, "bf16", "eager")])
def test_the_process_that_trains_decides_by_its_own_device(
    monkeypatch: pytest.MonkeyPatch, frozen: bool, precision: str, attention: str
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(options, "cpu_multiplies_bf16", lambda: True)
    monkeypatch.setattr(options, "keep_freed_memory", lambda: kept.append(True))
    model = make(freeze_first_model=frozen)
    fitted = fit_to_device(model, TrainingOptions(epochs=3, precision="auto"), use_cpu=True)
    assert fitted == TrainingOptions(epochs=3, precision=precision)
    assert model.first_model.config._attn_implementation == attention
    assert kept
