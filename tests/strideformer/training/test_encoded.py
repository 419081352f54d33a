"""Validation through the packed first model gives what the model's own forward gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ElectraConfig

from strideformer import Chunker, Strideformer, StrideformerConfig
from strideformer.token_bags import TokenBags
from strideformer.training import TokenizedDocuments, TrainingOptions
from strideformer.training import encoded as module
from strideformer.training.encoded import EncodedDocuments
from strideformer.training.selection import predict_logits
from tests.strideformer.training.separable import collate, new_model
from tests.tiny import texts


def tokenized(chunker: Chunker, is_pair: bool = False, bags: bool = False) -> TokenizedDocuments:
    firsts = texts(20, longest=5 if is_pair else 120)
    views = chunker.views(firsts, texts(20, longest=120, seed=4) if is_pair else None)
    return TokenizedDocuments(views, chunker, torch.arange(20) % 3, bags=TokenBags.of(views) if bags else None)


@torch.inference_mode()
def own_logits(model: Strideformer, documents: TokenizedDocuments, chunker: Chunker) -> np.ndarray:
    """By the model's own forward, a document at a time."""
    rows = []
    for document, count in enumerate(documents.chunk_counts.tolist()):
        tensors = collate(chunker)([documents.features(document, np.arange(count)) | {"labels": 0}])
        rows.append(model(**tensors).logits[0])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("at_once", [1, 40, 4096])
@pytest.mark.parametrize(
    ("is_pair", "bags", "changes"),
    [
        (False, False, {}),
        (True, False, {}),
        (False, True, {"bag_of_tokens": True}),
        (False, False, {"chunk_layers": [0, -1], "hidden_size": 64, "chunk_pooling": "cls"}),
    ],
)
def test_logits_are_those_of_the_model(
    chunker: Chunker,
    is_pair: bool,
    bags: bool,
    changes: dict[str, object],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNKS_AT_ONCE", at_once)
    model = new_model(freeze_first_model=False, **changes).eval()
    documents = tokenized(chunker, is_pair, bags)
    if model.bag_of_tokens is not None and documents.bags is not None:
        model.bag_of_tokens.fit(documents.bags)
        torch.nn.init.normal_(next(model.bag_of_tokens.parameters()))
    with torch.no_grad():
        for weight in model.parameters():  # so that documents differ
            weight *= 5 if weight.dim() == 2 else 1
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = np.full((20, 3), np.nan, np.float32)
    for rank in range(2):
        index, rows = predict_logits(model, documents, collate(chunker), TrainingOptions(budget=500), rank, 2)
        found[index] = rows
    np.testing.assert_allclose(found, own_logits(model, documents, chunker), atol=2e-3)
    assert np.ptp(found, axis=0).min() > 0.05
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_half_precision_leaves_the_trained_weights_as_they_are(chunker: Chunker) -> None:
    model, documents = new_model(freeze_first_model=False).eval(), tokenized(chunker)
    encoded = EncodedDocuments.of(documents, model, "bf16")
    assert encoded is not None
    assert encoded.encoder.dtype is torch.bfloat16
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    _, rows = predict_logits(model, documents, collate(chunker), TrainingOptions(budget=500, precision="bf16"))
    assert np.isfinite(rows).all()


def test_a_first_model_that_does_not_run_packed_runs_its_own_forward(chunker: Chunker, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    first = ElectraConfig(vocab_size=128, embedding_size=32, **sizes)
    second = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32, "num_labels": 3}
    torch.manual_seed(0)
    config = StrideformerConfig.from_two_configs(
        first, second | {"freeze_first_model": False, "problem_type": "single_label_classification"}
    )
    model = Strideformer(config).eval()
    views = chunker.views(texts(6, longest=80))
    documents = TokenizedDocuments(views, chunker, torch.arange(6) % 3, takes_token_types=False)
    assert EncodedDocuments.of(documents, model, "no") is None
    index, rows = predict_logits(model, documents, collate(chunker), TrainingOptions(budget=500))
    np.testing.assert_allclose(rows, own_logits(model, documents, chunker)[index], atol=1e-5)
