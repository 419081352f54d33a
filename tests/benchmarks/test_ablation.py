from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.training.labels import LabelEncoding
from jobs.training.setup import default_aggregator
from strideformer import StrideformerConfig
from tests.benchmarks.ablation_rows import BASE, BASELINE, ROWS, Row
from tests.benchmarks.ablation_training import Recipe, Store, train
from tests.strideformer.test_config import tiny_bert


def store(documents: int, seed: int) -> Store:
    """Documents of 1 to 6 chunks, of which one feature tells the class."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 7, documents)
    labels = generator.integers(0, 3, documents)
    vectors = generator.normal(0, 0.3, (counts.sum(), 24))
    vectors[np.arange(len(vectors)), np.repeat(labels, counts)] += 2
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Store(torch.from_numpy(vectors.astype(np.float16)), offsets, torch.from_numpy(labels))


def test_the_baseline_is_first_and_names_are_told_apart() -> None:
    assert ROWS[0] == Row(BASELINE)
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_baseline_is_what_train_makes() -> None:
    encoding = LabelEncoding("single_label_classification", ("a", "b"))
    assert default_aggregator(tiny_bert(hidden_size=384), True, encoding, {}) == BASE | {"bag_of_tokens": True}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_changes_fields_that_there_are(row: Row) -> None:
    fields = row.config | ({"class_weights": [1.0, 2.0]} if "class_weights" in row.config else {})
    config = StrideformerConfig(tiny_bert(hidden_size=384), **fields)
    assert all(hasattr(StrideformerConfig(), name) for name in fields)
    assert {name: getattr(config, name) for name in fields} == fields
    assert Recipe().changed(row.recipe) != Recipe() or not row.recipe


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_training_learns_and_tells_the_figures_of_its_best_epoch(ema: float) -> None:
    training, validation = store(120, 1), store(40, 2)
    fields = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "class_weights": "balanced"}
    recipe = Recipe(epochs=4, learning_rate=5e-3, ema=ema, max_chunks=4)
    outcome = train(fields | {"chunk_vector_norm": "standard"}, recipe, training, validation, seed=0)
    assert outcome.accuracy > 0.9
    assert outcome.macro_f1 == pytest.approx(outcome.accuracy, abs=0.1)
    assert outcome.log_loss < 0.8  # of chance: ln 3 = 1.1
    again = train(fields | {"chunk_vector_norm": "standard"}, recipe, training, validation, seed=0)
    assert (again.accuracy, again.log_loss) == (outcome.accuracy, outcome.log_loss)
