from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from strideformer.training import TrainingOptions
from strideformer.training.documents import EmbeddedDocuments
from strideformer.training.selection import spread_within_documents
from strideformer.training.trainer import train
from tests.strideformer.training.separable import COLLATE, new_model, separable


def test_a_second_model_that_says_the_same_of_every_chunk_is_found(tmp_path: Path) -> None:
    model, validation = new_model(), separable(60, 2)
    train(model, separable(120, 1), validation, COLLATE, TrainingOptions(epochs=3), tmp_path, use_cpu=True)
    learnt = spread_within_documents(model, validation, COLLATE)
    assert learnt is not None
    assert learnt > 0.1
    with torch.no_grad():
        model.classifier.weight *= 0.001
    dead = spread_within_documents(model.train(), validation, COLLATE)
    assert dead is not None
    assert dead < learnt / 500
    assert model.training


def test_what_has_no_spread_is_none() -> None:
    vectors, one_each = torch.zeros(2, 32), np.arange(3)
    assert spread_within_documents(new_model(), EmbeddedDocuments(vectors, one_each, torch.zeros(2)), COLLATE) is None
    regression = new_model(num_labels=1, problem_type="regression")
    two = EmbeddedDocuments(vectors, np.array([0, 2]), torch.zeros(1, 1))
    assert spread_within_documents(regression, two, COLLATE) is None
