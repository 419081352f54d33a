from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
from pydantic import ValidationError
from transformers import BertConfig, DistilBertConfig, GPT2Config, MambaConfig, ModernBertConfig, PreTrainedConfig

from jobs.train_settings import TrainSettings
from jobs.training.labels import LabelEncoding
from jobs.training.setup import default_aggregator, new_options, set_dropout
from strideformer import StrideformerConfig
from strideformer.errors import StrideformerError
from strideformer.training import TrainingOptions

CLASSES, SEVERAL, NUMBERS = ["a", "b", "c"], [["a"], ["b", "c"]], [0.5, 1.5]


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
    frozen = new_options(TrainSettings.model_validate(given | {"chunk_budget": 11}), 100)
    assert dataclasses.asdict(frozen) == dataclasses.asdict(TrainingOptions()) | values | {"budget": 11}
    more = {"token_budget": 12, "freeze_first_model": False, "gradient_checkpointing": True}
    both = new_options(TrainSettings.model_validate(given | more), 100)
    assert (both.budget, both.gradient_checkpointing) == (12, True)


def test_a_budget_of_tokens_in_place_of_a_number_of_documents_where_the_encoder_is_trained() -> None:
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    assert new_options(TrainSettings.model_validate(given), 100).batch_size == 16
    both = given | {"freeze_first_model": False}
    assert new_options(TrainSettings.model_validate(both), 100).batch_size is None
    assert new_options(TrainSettings.model_validate(both | {"batch_size": 4}), 100).batch_size == 4


def test_precision_is_left_to_the_process_that_trains() -> None:
    """Which may be on another machine, with another device."""
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    assert new_options(TrainSettings.model_validate(given), 100).precision == "auto"


def test_a_frozen_encoder_has_more_passes_and_no_need_of_memory() -> None:
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    frozen = new_options(TrainSettings.model_validate(given), 2240)
    both = new_options(TrainSettings.model_validate(given | {"freeze_first_model": False}), 2240)
    assert (frozen.epochs, both.epochs) == (12, 4)
    assert (frozen.gradient_checkpointing, both.gradient_checkpointing) == (False, True)


@pytest.mark.parametrize(("documents", "epochs"), [(1, 30), (800, 30), (827, 30), (828, 29), (2000, 12), (10**6, 12)])
def test_fewer_documents_are_shown_more_often(documents: int, epochs: int) -> None:
    settings = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d"}
    assert TrainSettings.model_validate(settings).passes(documents) == epochs
    assert TrainSettings.model_validate(settings | {"epochs": 7}).passes(documents) == 7


@pytest.mark.parametrize(
    ("labels", "frozen", "given", "smoothing"),
    [
        (CLASSES, True, {}, 0.1),
        (CLASSES, True, {"loss": "focal"}, 0.0),
        (CLASSES, False, {}, 0.0),
        (SEVERAL, True, {}, 0.0),
        (NUMBERS, True, {}, 0.0),
    ],
)
def test_the_default_aggregator_suits_labels_and_loss(
    labels: list[object], frozen: bool, given: dict[str, object], smoothing: float
) -> None:
    encoding = LabelEncoding.of(pa.chunked_array([labels]))
    first = BertConfig(hidden_size=96, num_hidden_layers=1, num_attention_heads=3)
    fields = default_aggregator(first, frozen, encoding, given) | given
    own = {"num_labels": len(encoding.names), "problem_type": encoding.problem_type}
    config = StrideformerConfig.from_two_configs(first, fields | own)
    assert (config.num_hidden_layers, config.num_attention_heads) == (1, 3)
    assert config.label_smoothing == smoothing
    assert config.chunk_vector_norm == ("standard" if frozen else "none")
    assert config.chunk_dropout == (0.3 if frozen else 0)
    assert config.bag_of_tokens == frozen


@pytest.mark.parametrize(("labels", "bags"), [(333, True), (334, False)])
def test_tokens_have_no_weights_where_there_are_too_many_labels(labels: int, bags: bool) -> None:
    encoding = LabelEncoding("single_label_classification", tuple(map(str, range(labels))))
    assert default_aggregator(BertConfig(vocab_size=30_000), True, encoding, {})["bag_of_tokens"] == bags


def test_flags_are_frozen() -> None:
    """A flag that is renamed or removed breaks somebody's scripts: change this list knowingly."""
    assert sorted(TrainSettings.model_fields) == sorted(
        "train validation embeddings output dataset dataset_path format text_column pair_column id_column "
        "label_column missing_label problem_type storage_option encoder start_from freeze_first_model "
        "include_first_model aggregator max_length stride max_chunks chunk_layers train_max_chunks epochs "
        "learning_rate first_model_learning_rate first_model_dropout weight_decay chunk_budget token_budget "
        "batch_size gradient_accumulation_steps "
        "gradient_checkpointing precision metric early_stopping checkpoint_steps seed device report_to workers "
        "baseline compare_baselines resume".split()
    )
    assert all(field.description for field in TrainSettings.model_fields.values())


@pytest.mark.parametrize("config", [BertConfig(), DistilBertConfig(), ModernBertConfig(), GPT2Config()])
def test_dropout_of_an_encoder_that_is_trained(config: PreTrainedConfig) -> None:
    before = {name: rate for name, rate in config.to_dict().items() if "drop" in name}
    set_dropout(config, None)
    assert {name: getattr(config, name) for name in before} == before
    set_dropout(config, 0.25)
    of_heads = ("classifier", "qa_", "seq_classif", "summary")
    rates = {getattr(config, name) for name in before if not name.startswith(of_heads)}
    assert rates == {0.25}
    assert {name: getattr(config, name) for name in before if name.startswith(of_heads)}.items() <= before.items()


def test_an_encoder_without_dropout_is_told() -> None:
    with pytest.raises(StrideformerError, match="--first-model-dropout 0: the config of a mamba has no dropout"):
        set_dropout(MambaConfig(), 0.0)


def test_a_dropout_of_a_frozen_encoder_is_refused() -> None:
    given = {"train": ["a"], "validation": "b", "output": "c", "encoder": "d", "first_model_dropout": 0}
    with pytest.raises(ValidationError, match="add --no-freeze-first-model"):
        TrainSettings.model_validate(given)
    for more in ({"freeze_first_model": False}, {"baseline": "truncate"}):
        assert TrainSettings.model_validate(given | more).first_model_dropout == 0
