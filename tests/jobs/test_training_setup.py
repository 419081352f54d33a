from __future__ import annotations

import dataclasses

from jobs.train_settings import TrainSettings
from jobs.training_setup import new_options
from strideformer.training import TrainingOptions


def test_every_setting_of_training_reaches_its_option() -> None:
    """What each option does is shown in tests/strideformer/training/test_in_force.py."""
    values = {
        "epochs": 3,
        "learning_rate": 0.25,
        "first_model_learning_rate": 0.125,
        "weight_decay": 0.5,
        "batch_size": 5,
        "gradient_accumulation_steps": 6,
        "train_max_chunks": 7,
        "seed": 8,
        "metric": "loss",
        "early_stopping": 9,
        "checkpoint_steps": 10,
        "precision": "bf16",
    }
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d", "device": "cpu"} | values
    frozen = new_options(TrainSettings.model_validate(given | {"chunk_budget": 11}))
    assert dataclasses.asdict(frozen) == dataclasses.asdict(TrainingOptions()) | values | {"budget": 11}
    more = {"token_budget": 12, "freeze_first_model": False, "gradient_checkpointing": True}
    both = new_options(TrainSettings.model_validate(given | more))
    assert (both.budget, both.gradient_checkpointing) == (12, True)
    assert all(field.description for field in TrainSettings.model_fields.values())


def test_a_frozen_encoder_has_more_passes_and_no_need_of_memory() -> None:
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    frozen = new_options(TrainSettings.model_validate(given))
    both = new_options(TrainSettings.model_validate(given | {"freeze_first_model": False}))
    assert (frozen.epochs, both.epochs) == (30, 4)
    assert (frozen.gradient_checkpointing, both.gradient_checkpointing) == (False, True)
