from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer import Chunker
from strideformer.training import TokenizedDocuments, TrainingOptions
from strideformer.training.selection import predict_logits
from strideformer.training.trainer import train
from tests.strideformer.training.separable import collate, new_model
from tests.tiny import WORDS, texts


def tokenized(chunker: Chunker, documents: list[str], pairs: list[str] | None, labels: list[int]) -> TokenizedDocuments:
    views = chunker.views(documents, pairs)
    return TokenizedDocuments(views, chunker, torch.tensor(labels))


@pytest.mark.parametrize("is_pair", [False, True])
def test_chunks_are_those_of_the_tokenizer(chunker: Chunker, is_pair: bool) -> None:
    firsts = texts(6, longest=5) if is_pair else texts(6, longest=100)
    pairs = texts(6, longest=100, seed=4) if is_pair else None
    documents = tokenized(chunker, firsts, pairs, [0] * 6)
    for index in range(6):
        expected = chunker.input_ids(firsts[index], None if pairs is None else pairs[index])
        features = documents.features(index, np.arange(documents.chunk_counts[index]))
        assert features["input_ids"] == expected
        assert documents.chunk_widths[index] == max(len(chunk) for chunk in expected)
        last = documents.features(index, np.array([documents.chunk_counts[index] - 1]))
        assert last["input_ids"] == expected[-1:]
        for ids, types in zip(features["input_ids"], features["token_type_ids"], strict=True):
            separator = ids.index(3)  # [SEP] of the first text
            assert types == [0] * (separator + 1) + [1] * (len(ids) - separator - 1)


def labelled(chunker: Chunker, number: int, seed: int) -> TokenizedDocuments:
    """Documents that are told apart by one word, which the first model must learn to see."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, number)
    words = [[*generator.choice(WORDS[3:], generator.integers(4, 60)), *[WORDS[label]] * 6] for label in labels]
    for row in words:
        generator.shuffle(row)
    return tokenized(chunker, [" ".join(row) for row in words], None, labels.tolist())


def test_both_models_learn_from_some_chunks_of_each_document(tmp_path: Path, chunker: Chunker) -> None:
    model = new_model(freeze_first_model=False)
    before = {name: weight.clone() for name, weight in model.first_model.state_dict().items()}
    options = TrainingOptions(
        epochs=10,
        learning_rate=3e-3,
        first_model_learning_rate=3e-3,
        budget=600,
        gradient_accumulation_steps=2,
        train_max_chunks=2,
        gradient_checkpointing=True,
    )
    training, validation = labelled(chunker, 160, 1), labelled(chunker, 40, 2)
    result = train(model, training, validation, collate(chunker), options, tmp_path, use_cpu=True)
    assert result.figures["accuracy"] > 0.8
    word = "embeddings.word_embeddings.weight"
    assert not torch.equal(model.first_model.state_dict()[word], before[word])


def test_the_two_models_have_their_own_rates(tmp_path: Path, chunker: Chunker) -> None:
    model = new_model(freeze_first_model=False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    options = TrainingOptions(epochs=1, first_model_learning_rate=1e-12)
    train(model, labelled(chunker, 20, 1), labelled(chunker, 5, 2), collate(chunker), options, tmp_path, use_cpu=True)
    for name, weight in model.state_dict().items():
        assert torch.allclose(weight, before[name], rtol=0, atol=1e-9) == name.startswith("first_model."), name


def test_mixed_precision_trains_weights_in_full_precision(tmp_path: Path, chunker: Chunker) -> None:
    model = new_model(freeze_first_model=False)
    options = TrainingOptions(epochs=2, learning_rate=3e-3, precision="bf16")
    training, validation = labelled(chunker, 40, 1), labelled(chunker, 10, 2)
    result = train(model, training, validation, collate(chunker), options, tmp_path, use_cpu=True)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_logits_do_not_depend_on_the_budget(chunker: Chunker) -> None:
    model = new_model().eval()
    documents = labelled(chunker, 30, 1)
    every = []
    for budget, world in ((50, 1), (5000, 1), (500, 3)):
        logits = np.full((30, 3), np.nan, np.float32)
        for rank in range(world):
            index, rows = predict_logits(
                model, documents, collate(chunker), TrainingOptions(budget=budget), rank, world
            )
            logits[index] = rows
        every.append(logits)
    np.testing.assert_allclose(every[0], every[1], atol=1e-5)
    np.testing.assert_allclose(every[0], every[2], atol=1e-5)
