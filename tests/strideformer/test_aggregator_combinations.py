"""Every combination of the second model's options: a document has the same logits alone and among others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from strideformer import Strideformer
from strideformer.aggregator_options import (
    CHUNK_POSITIONS,
    CHUNK_STATISTICS,
    CHUNK_VECTOR_NORMS,
    DOCUMENT_POOLINGS,
    NORM_POSITIONS,
    POOLINGS_OF_LOGITS,
)
from tests.strideformer.small_models import close, make

OPTIONS = st.fixed_dictionaries(
    {
        "num_hidden_layers": st.integers(0, 2),
        "hidden_size": st.sampled_from([32, 20]),
        "chunk_vector_norm": st.sampled_from(CHUNK_VECTOR_NORMS),
        "chunk_positions": st.sampled_from(CHUNK_POSITIONS),
        "document_pooling": st.sampled_from(DOCUMENT_POOLINGS),
        "norm_position": st.sampled_from(NORM_POSITIONS),
        "mix_chunk_statistics": st.lists(st.sampled_from(CHUNK_STATISTICS), unique=True),
        "classifier_hidden_size": st.sampled_from([0, 12]),
        "hidden_act": st.sampled_from(["gelu", "relu", "silu"]),
    }
).filter(lambda options: options["num_hidden_layers"] or options["document_pooling"] != "cls")
COUNTS = st.lists(st.integers(1, 8), min_size=1, max_size=6)


def vectors(number: int, seed: int = 2) -> Tensor:
    return torch.randn(number, 32, generator=torch.Generator().manual_seed(seed))


def trained_a_little(options: dict[str, Any]) -> Strideformer:
    """In evaluation mode, its running figures no longer those that it began with."""
    model = make(**options, input_dropout=0.1, chunk_dropout=0.3, classifier_dropout=0.1, dropout=0.1).train()
    model(chunk_vectors=3 * vectors(12, seed=9) + 1, chunk_counts=torch.tensor([4, 8]))
    return model.eval()


@given(OPTIONS, COUNTS, st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_document_among_others_is_as_if_alone(options: dict[str, Any], counts: list[int], gradients: bool) -> None:
    model = trained_a_little(options)
    every = vectors(sum(counts))
    with torch.set_grad_enabled(gradients):  # torch's layers take another way where none are needed
        together = model(chunk_vectors=every, chunk_counts=torch.tensor(counts))
        parts = [model(chunk_vectors=part) for part in every.split(counts)]
    close(together.logits, torch.cat([part.logits for part in parts]))
    close(together.chunk_logits, torch.cat([part.chunk_logits for part in parts]))
    if options["document_pooling"] in POOLINGS_OF_LOGITS:
        means = [logits.mean(dim=0) for logits in together.chunk_logits.split(counts)]
        close(together.logits, torch.stack(means), 2e-5)


@given(OPTIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_training_reaches_every_weight_and_stays_finite(options: dict[str, Any]) -> None:
    model = make(**options, input_dropout=0.1, chunk_dropout=0.9, classifier_dropout=0.1, dropout=0.1).train()
    model(
        chunk_vectors=vectors(40),
        chunk_counts=torch.tensor([1, 8, 7, 8, 8, 8]),
        labels=torch.tensor([0, 1, 2, 2, 1, 0]),
    ).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("seed", range(6))
def test_checkpoint_keeps_options_weights_and_running_figures(tmp_path: Path, seed: int) -> None:
    chosen = {
        "chunk_vector_norm": CHUNK_VECTOR_NORMS[-1 - seed % 4],
        "chunk_positions": CHUNK_POSITIONS[-1 - seed % 4],
        "document_pooling": DOCUMENT_POOLINGS[seed],
        "norm_position": NORM_POSITIONS[seed % 2],
        "hidden_size": (20, 32)[seed % 2],
        "num_hidden_layers": 1 + seed % 2,
        "mix_chunk_statistics": CHUNK_STATISTICS[: seed % 4],
        "classifier_hidden_size": 12 * (seed % 2),
    }
    model = trained_a_little(chosen)
    model.save_pretrained(tmp_path)
    loaded = Strideformer.from_pretrained(tmp_path)
    close(loaded(chunk_vectors=vectors(5)).logits, model(chunk_vectors=vectors(5)).logits, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pooling", DOCUMENT_POOLINGS)
def test_half_precision_stays_close(pooling: str, dtype: torch.dtype) -> None:
    model = trained_a_little(
        {
            "document_pooling": pooling,
            "chunk_vector_norm": "standard",
            "mix_chunk_statistics": CHUNK_STATISTICS,
            "chunk_positions": "both_ends",
            "initializer_range": 0.1,
        }
    )
    counts = torch.tensor([3, 8])
    expected = model(chunk_vectors=vectors(11), chunk_counts=counts).logits
    half = model.to(dtype)(chunk_vectors=vectors(11), chunk_counts=counts).logits
    assert half.dtype == dtype
    assert expected.abs().max() > 0.3
    close(half.float(), expected, 0.08 if dtype == torch.bfloat16 else 0.01)


def test_chunk_dropout_is_of_training_alone() -> None:
    model = make(chunk_dropout=0.5)
    inputs = {"chunk_vectors": vectors(40), "chunk_counts": torch.tensor([8] * 5)}
    close(model(**inputs).logits, model(**inputs).logits, 0)
    model.train()
    assert (model(**inputs).logits - model(**inputs).logits).abs().max() > 0.01
