from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from strideformer import Strideformer
from tests.strideformer.small_models import close, make

VECTORS = torch.randn(5, 32, generator=torch.Generator().manual_seed(4))


def states_and_output(**changes: Any) -> tuple[Strideformer, Tensor, Any]:
    model = make(**changes)
    output = model(chunk_vectors=VECTORS, output_hidden_states=True)
    return model, output.second_model_hidden_states[0], output


def test_mean_is_the_mean_of_the_chunks_logits() -> None:
    model, states, output = states_and_output()
    close(output.chunk_logits, model.classifier(states))
    close(output.logits[0], output.chunk_logits.mean(dim=0))


@pytest.mark.parametrize(("pooling", "heads"), [("attention", 1), ("label_attention", 3)])
def test_attention_weighs_the_chunks_logits(pooling: str, heads: int) -> None:
    model, states, output = states_and_output(document_pooling=pooling)
    weights = model.document_head.attention(states).softmax(dim=0)
    assert weights.shape == (5, heads)
    assert weights.max() > 0.25
    close(output.logits[0], (weights * model.classifier(states)).sum(dim=0))
    close(output.chunk_logits, 5 * weights * model.classifier(states))


@pytest.mark.parametrize("pooling", ["mean_states", "max", "cls"])
def test_state_of_the_document_is_classified(pooling: str) -> None:
    model, states, output = states_and_output(document_pooling=pooling, classifier_hidden_size=12)
    chunks = states[1:] if pooling == "cls" else states
    expected = {"mean_states": chunks.mean(dim=0), "max": chunks.max(dim=0).values, "cls": states[0]}[pooling]
    close(output.logits[0], model.classifier(model.document_head.hidden(expected)))
    close(output.chunk_logits, model.classifier(model.document_head.hidden(chunks)))


def test_without_layers_the_mean_is_a_linear_classifier_of_the_mean_vector() -> None:
    model = make(num_hidden_layers=0)
    close(model(chunk_vectors=VECTORS).logits[0], model.classifier(VECTORS.mean(dim=0)))


def test_statistics_have_weights_of_their_own() -> None:
    model, _, output = states_and_output(mix_chunk_statistics=["variance", "mean", "max"])
    plain = make()(chunk_vectors=VECTORS)
    plain_model = make()
    model.load_state_dict(plain_model.state_dict(), strict=False)
    output = model(chunk_vectors=VECTORS)
    parts = [VECTORS.var(dim=0, correction=0), VECTORS.mean(dim=0), VECTORS.max(dim=0).values]
    weight = model.document_head.of_statistics.weight
    close(output.logits - plain.logits, (weight @ torch.cat(parts)).unsqueeze(0))
    for chunk in range(5):
        own = weight @ torch.cat([parts[0], VECTORS[chunk], parts[2]])
        close(output.chunk_logits[chunk] - plain.chunk_logits[chunk], own)


@pytest.mark.parametrize("pooling", ["attention", "max", "cls"])
def test_dropped_chunks_count_in_nothing(monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    options = {
        "mix_chunk_statistics": ["mean", "max", "variance"],
        "chunk_positions": "both_ends",
        "chunk_dropout": 0.5,
    }
    model = make(document_pooling=pooling, **options)
    left = torch.tensor([0, 2, 3])
    alone, of_chunks, _ = model.aggregate(VECTORS[left], torch.tensor([3]), left, torch.tensor([5]))
    other, of_other, _ = model.aggregate(VECTORS[:1], torch.tensor([1]))
    kept = torch.tensor([[True, True, True], [True, False, False]])
    order = torch.tensor([[0, 2, 3], [0, 4, 1]])
    monkeypatch.setattr("strideformer.model.drop_chunks", lambda present, share: (kept, order))
    model.train()  # all other dropout is 0
    output = model(chunk_vectors=torch.cat([VECTORS, VECTORS[:1]]), chunk_counts=torch.tensor([5, 1]))
    close(output.logits, torch.cat([alone, other]))
    close(output.chunk_logits[left], of_chunks)
    close(output.chunk_logits[5:], of_other)
    assert not output.chunk_logits[[1, 4]].any()


def test_values_of_a_regression_are_in_their_own_unit_in_float32() -> None:
    fields = {"num_labels": 2, "problem_type": "regression"}
    plain = make(**fields).bfloat16()(chunk_vectors=VECTORS.bfloat16())
    unit = {"target_means": [2000.0, 0.5], "target_deviations": [10.0, 0.25]}
    output = make(**fields, **unit).bfloat16()(chunk_vectors=VECTORS.bfloat16())
    means, deviations = torch.tensor([2000.0, 0.5]), torch.tensor([10.0, 0.25])
    assert output.logits.dtype == output.chunk_logits.dtype == torch.float32
    close(output.logits, plain.logits.float() * deviations + means, 1e-3)
    close(output.chunk_logits, plain.chunk_logits.float() * deviations + means, 1e-3)
