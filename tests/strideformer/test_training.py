from __future__ import annotations

import numpy as np
import torch
from transformers import BertConfig

from strideformer import Strideformer, StrideformerConfig
from strideformer.training import EmbeddedDocuments, TrainingOptions, evaluate, join, train_aggregator


def separable(number: int, seed: int) -> EmbeddedDocuments:
    """Ragged documents of which one chunk, anywhere, tells the class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, number)
    documents = []
    for label in labels:
        rows = generator.normal(0, 0.3, (generator.integers(1, 9), 32)).astype(np.float16)
        rows[generator.integers(len(rows)), label] += 8
        documents.append(rows)
    return join(documents, torch.from_numpy(labels))


def new_model() -> Strideformer:
    torch.manual_seed(0)
    first = BertConfig(vocab_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    second = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32, "num_labels": 3}
    return Strideformer(StrideformerConfig.from_two_configs(first, second))


def test_it_learns_and_touches_only_the_second_model() -> None:
    model = new_model()
    before = {name: weight.clone() for name, weight in model.first_model.state_dict().items()}
    options = TrainingOptions(epochs=8, learning_rate=3e-3, batch_size=16)
    accuracy = train_aggregator(model, separable(200, 1), separable(60, 2), options)
    assert accuracy > 0.9
    assert evaluate(model, separable(60, 2))[0] == accuracy, "the model holds the best epoch's weights"
    assert evaluate(model, separable(100, 3))[0] > 0.9
    for name, weight in model.first_model.state_dict().items():
        torch.testing.assert_close(weight, before[name])


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        model = new_model()
        train_aggregator(model, separable(40, 1), separable(20, 2), TrainingOptions(epochs=2, seed=3))
        weights.append(model.classifier.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
