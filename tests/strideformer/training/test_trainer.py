from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from strideformer import Strideformer
from strideformer.errors import StrideformerError
from strideformer.training import TrainingOptions
from strideformer.training.selection import measure
from strideformer.training.trainer import TrainingResult, last_checkpoint, train
from tests.strideformer.training.separable import COLLATE, new_model, separable


class KilledError(Exception):
    pass


class KillAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KilledError


def trained(
    folder: Path, options: TrainingOptions, model: Strideformer | None = None, **more: Any
) -> tuple[Strideformer, TrainingResult]:
    model = model or new_model()
    result = train(model, separable(120, 1), separable(60, 2), COLLATE, options, folder, use_cpu=True, **more)
    return model, result


def test_it_learns_keeps_the_best_and_touches_only_the_second_model(tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in new_model().first_model.state_dict().items()}
    options = TrainingOptions(epochs=8, learning_rate=3e-3, budget=128, early_stopping=3)
    model, result = trained(tmp_path, options)
    assert result.figures["accuracy"] > 0.9
    assert result.figures["accuracy"] == max(row["eval_accuracy"] for row in result.history)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2
    for name, weight in model.first_model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
    saved = next(tmp_path.glob("checkpoint-*/model.safetensors"))
    assert b"first_model." not in saved.read_bytes()[:10_000]


@pytest.mark.parametrize("checkpoint_steps", [None, 5])
def test_a_run_killed_midway_and_resumed_gives_the_same_weights(tmp_path: Path, checkpoint_steps: int | None) -> None:
    options = TrainingOptions(
        epochs=3,
        budget=64,
        seed=3,
        train_max_chunks=5,
        gradient_accumulation_steps=2,
        checkpoint_steps=checkpoint_steps,
    )
    whole, expected = trained(tmp_path / "whole", options)
    assert expected.history[-1]["step"] == 15
    with pytest.raises(KilledError):
        trained(tmp_path / "killed", options, callbacks=[KillAfter(7)])
    last = last_checkpoint(tmp_path / "killed")
    assert last is not None
    (last.parent / "checkpoint-99").mkdir()  # one that was being written
    resumed, result = trained(tmp_path / "killed", options, resume=True)
    assert result == expected
    for name, weight in resumed.state_dict().items():
        torch.testing.assert_close(weight, whole.state_dict()[name], rtol=0, atol=0)


class KillAtTheEnd(TrainerCallback):
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise KilledError


# The model does not change, so its first evaluation is the best one; two steps are an epoch.
IN_VAIN = TrainingOptions(epochs=4, batch_size=60, budget=512, learning_rate=1e-12, metric="accuracy")


@pytest.mark.parametrize("kill", [KillAfter(5), KillAtTheEnd()], ids=["before it stops", "after it stopped"])
def test_a_run_that_is_resumed_stops_early_where_it_would_have(tmp_path: Path, kill: TrainerCallback) -> None:
    options = replace(IN_VAIN, early_stopping=2)
    whole, expected = trained(tmp_path / "whole", options)
    assert [row["step"] for row in expected.history] == [2, 4, 6]
    with pytest.raises(KilledError):
        trained(tmp_path / "killed", options, callbacks=[kill])
    resumed, result = trained(tmp_path / "killed", options, resume=True)
    assert result == expected
    for name, weight in resumed.state_dict().items():
        torch.testing.assert_close(weight, whole.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(("before", "after", "steps"), [(1, 2, 6), (1, None, 8), (None, 1, 6)])
def test_a_run_may_be_resumed_with_another_patience(
    tmp_path: Path, before: int | None, after: int | None, steps: int
) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, replace(IN_VAIN, early_stopping=before), callbacks=[KillAfter(5), KillAtTheEnd()])
    result = trained(tmp_path, replace(IN_VAIN, early_stopping=after), resume=True)[1]
    assert result.history[-1]["step"] == steps


def test_other_seeds_give_other_weights(tmp_path: Path) -> None:
    weights = [
        trained(tmp_path / str(seed), TrainingOptions(epochs=1, seed=seed))[0].classifier.weight for seed in (0, 1)
    ]
    assert not torch.equal(*weights)


def test_several_labels_and_values_are_measured() -> None:
    logits = torch.tensor([[2.0, -1.0], [-1.0, 3.0]])
    several = measure(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]), "multi_label_classification")
    assert several["accuracy"] == 0.5
    assert several["f1_micro"] == pytest.approx(0.8)
    values = measure(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]), "regression")
    assert values["mean_squared_error"] == values["loss"] == 2.0
    assert values["mean_absolute_error"] == 1.0


def test_one_label_is_measured_and_not_its_absence() -> None:
    """scikit-learn takes a single column for two classes."""
    truth = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    never = measure(torch.full((4, 1), -1.0), truth, "multi_label_classification")
    assert (never["accuracy"], never["f1_micro"], never["f1_macro"]) == (0.75, 0, 0)
    once = measure(torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), truth, "multi_label_classification")
    assert once["f1_micro"] == once["f1_macro"] == pytest.approx(2 / 3)
    none = measure(torch.full((4, 1), -1.0), torch.zeros(4, 1), "multi_label_classification")
    assert (none["f1_micro"], none["f1_macro"]) == (0, 0), "a number to choose by, even of no label"


def test_a_metric_that_does_not_suit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match="metric 'r2' does not suit single_label_classification"):
        trained(tmp_path, TrainingOptions(metric="r2"))
