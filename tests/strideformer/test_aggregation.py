from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer import Strideformer
from strideformer.aggregation import DocumentAggregator, second_model_dtype
from strideformer.aggregator_options import DOCUMENT_POOLINGS
from tests.strideformer.small_models import make
from tests.tiny import save_tiny_checkpoint

COUNTS = np.array([3, 1, 0, 8, 2, 5, 0])
OFFSETS = np.concatenate([[0], np.cumsum(COUNTS)])


@pytest.mark.parametrize("document_pooling", DOCUMENT_POOLINGS)
@pytest.mark.parametrize("chunk_positions", ["none", "learned", "sinusoidal"])
def test_each_document_is_as_if_it_were_alone(tmp_path: Path, document_pooling: str, chunk_positions: str) -> None:
    folder = save_tiny_checkpoint(tmp_path / "m", document_pooling=document_pooling, chunk_positions=chunk_positions)
    model = Strideformer.from_pretrained(folder)
    vectors = torch.randn(int(OFFSETS[-1]), 32, generator=torch.Generator().manual_seed(1))
    together = DocumentAggregator(model, torch.device("cpu"))(vectors, OFFSETS)
    for document, count in enumerate(COUNTS):
        rows = slice(int(OFFSETS[document]), int(OFFSETS[document + 1]))
        if not count:
            assert np.isnan(together.logits[document]).all()
            continue
        alone = DocumentAggregator(model, torch.device("cpu"))(vectors[rows], np.array([0, count]))
        np.testing.assert_allclose(together.logits[document], alone.logits[0], atol=1e-5)
        np.testing.assert_allclose(together.chunk_logits[rows], alone.chunk_logits, atol=1e-5)


def test_mean_pooling_is_the_mean_of_the_chunks_logits(tiny_checkpoint: Path) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    vectors = torch.randn(6, 32)
    result = DocumentAggregator(model, torch.device("cpu"))(vectors, np.array([0, 2, 6]))
    np.testing.assert_allclose(result.logits[0], result.chunk_logits[:2].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(result.logits[1], result.chunk_logits[2:].mean(axis=0), atol=1e-5)


def test_the_budget_does_not_change_a_logit(tiny_checkpoint: Path) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    vectors = torch.randn(int(OFFSETS[-1]), 32)
    small = DocumentAggregator(model, torch.device("cpu"), chunk_budget=1)(vectors, OFFSETS)
    large = DocumentAggregator(model, torch.device("cpu"), chunk_budget=10_000)(vectors, OFFSETS)
    np.testing.assert_allclose(small.logits, large.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "dtype", "regression", "expected"),
    [
        ("cuda", torch.float16, False, torch.float16),
        ("cuda", torch.bfloat16, False, torch.bfloat16),
        ("cuda", torch.bfloat16, True, torch.float32),
        ("cpu", torch.bfloat16, False, torch.float32),
    ],
)
def test_half_precision_on_a_gpu_but_for_the_values_of_a_regression(
    device: str, dtype: torch.dtype, regression: bool, expected: torch.dtype
) -> None:
    assert second_model_dtype(torch.device(device), dtype, regression) is expected


@pytest.mark.parametrize("problem_type", ["regression", None])
def test_a_regression_multiplies_in_full_precision_beside_an_encoder_in_bf16(problem_type: str | None) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(int(OFFSETS[-1]), 32)
    made = [
        DocumentAggregator(make(num_labels=1, problem_type=problem_type), torch.device("cpu"), dtype)
        for dtype in (torch.bfloat16, torch.float32)
    ]
    np.testing.assert_array_equal(made[0](vectors, OFFSETS).logits, made[1](vectors, OFFSETS).logits)


def test_on_a_cpu_each_core_has_documents_of_its_own(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all cores compute one batch they wait for each other after every operation."""
    model = Strideformer.from_pretrained(tiny_checkpoint)
    vectors = torch.randn(int(OFFSETS[-1]), 32)
    expected = DocumentAggregator(model, torch.device("cpu"))(vectors, OFFSETS)
    threads = []
    aggregate = model.aggregate

    def aggregated(*arguments: torch.Tensor, **more: object) -> object:
        threads.append((threading.get_ident(), torch.get_num_threads()))
        return aggregate(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "aggregate", aggregated)
    monkeypatch.setattr("strideformer.aggregation.threads_for", lambda documents: 2)
    found = DocumentAggregator(model, torch.device("cpu"))(vectors, OFFSETS)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(found.chunk_logits, expected.chunk_logits, atol=1e-5)
    assert {cores for _, cores in threads} == {1}
    assert threading.get_ident() not in {thread for thread, _ in threads}
