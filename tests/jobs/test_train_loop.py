from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import train_loop
from jobs.train_settings import TrainSettings
from strideformer import Chunker
from strideformer.errors import StrideformerError
from strideformer.training import TrainingOptions
from strideformer.training.trainer import train
from tests.strideformer.training.conftest import chunker
from tests.strideformer.training.separable import COLLATE, new_model, separable
from tests.strideformer.training.test_in_force import run

__all__ = ["chunker"]  # the fixture


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_plain_loop_takes_the_steps_of_the_trainer(tmp_path: Path, accumulation: int) -> None:
    options = TrainingOptions(
        epochs=3, budget=64, learning_rate=3e-3, gradient_accumulation_steps=accumulation, train_max_chunks=5, seed=2
    )
    results, models = [], []
    for way in (train, train_loop.train):
        models.append(new_model())
        data: tuple[Any, ...] = (separable(100, 1), separable(40, 2), COLLATE, options, tmp_path)
        results.append(way(models[-1], *data, use_cpu=True))
    rows = list(zip(results[0].history, results[1].history, strict=True))
    assert len(rows) == 3
    for ours, theirs in rows:
        assert ours["step"] == theirs["step"]
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-4)
        assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], abs=1e-4)
    assert results[0].figures == pytest.approx(results[1].figures, abs=1e-4)
    for name, weight in models[0].state_dict().items():
        torch.testing.assert_close(weight, models[1].state_dict()[name], rtol=0, atol=1e-5)


def test_the_plain_loop_takes_the_steps_of_the_trainer_for_both_models(tmp_path: Path, chunker: Chunker) -> None:
    """With dropout in both, so that each draws the same numbers in the same order."""
    results = [
        run(way, chunker, tmp_path / name, epochs=2, gradient_checkpointing=True, budget=400)
        for name, way in (("trainer", train), ("loop", train_loop.train))
    ]
    (ours, _, trained), (theirs, _, looped) = results
    assert trained.figures == pytest.approx(looped.figures, abs=1e-4)
    losses = [[row["train_loss"] for row in result.history] for result in (trained, looped)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("accuracies", "best"), [([math.nan] * 3, 0), ([math.nan, 0.5, math.nan], 1)])
def test_an_epoch_is_kept_of_a_metric_that_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], best: int
) -> None:
    measured = iter([{"accuracy": value, "loss": epoch} for epoch, value in enumerate(accuracies)])
    monkeypatch.setattr(train_loop, "measure", lambda *arguments: next(measured))
    options = TrainingOptions(epochs=3, metric="accuracy")
    result = train_loop.train(new_model(), separable(20, 1), separable(9, 2), COLLATE, options, tmp_path, use_cpu=True)
    assert len(result.history) == 3
    assert result.figures["loss"] == best


def test_what_the_plain_loop_cannot_do_is_told(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match="writes no checkpoints"):
        train_loop.train(
            new_model(), separable(5, 1), separable(5, 2), COLLATE, TrainingOptions(), tmp_path, resume=True
        )


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"workers": 4}, "--workers"),
        ({"baseline": "mean"}, "--baseline"),
        ({"resume": True}, "--resume"),
        ({"report_to": "tensorboard"}, "--report-to"),
        ({"checkpoint_steps": 5}, "--checkpoint-steps"),
    ],
)
def test_settings_that_are_not_of_the_plain_loop_are_refused_before_anything_is_read(
    more: dict[str, Any], flag: str
) -> None:
    given = {"train": ["/nowhere"], "validation": "0.1", "output": "o", "encoder": "/nowhere"}
    with pytest.raises(StrideformerError, match=f"the plain loop does not know {flag}: leave it out, or use"):
        train_loop.run(TrainSettings.model_validate(given | more))
