from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoConfig,
    BertConfig,
    DebertaV2Config,
    LongformerConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    RobertaPreLayerNormConfig,
)

from strideformer import StrideformerConfig, StrideformerError
from strideformer.config import max_positions, name_of_encoder

CHANGED: dict[str, Any] = {
    "freeze_first_model": False,
    "max_chunks": 9,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "intermediate_size": 48,
    "hidden_act": "relu",
    "dropout": 0.3,
    "layer_norm_eps": 1e-6,
    "initializer_range": 0.5,
    "max_length": 20,
    "stride": 7,
    "chunk_pooling": "cls",
    "normalize_embeddings": True,
    "chunk_layers": [0, -1],
    "chunk_positions": "learned",
    "document_pooling": "attention",
    "hidden_size": 40,
    "chunk_vector_norm": "standard",
    "norm_position": "pre",
    "input_dropout": 0.2,
    "chunk_dropout": 0.4,
    "mix_chunk_statistics": ["variance", "mean"],
    "classifier_hidden_size": 12,
    "classifier_dropout": 0.25,
    "loss": "focal",
    "focal_gamma": 1.5,
    "class_weights": [1.0, 0.5, 2.0],
    "label_smoothing": 0.0,
    "first_model_name": "package:somewhere",
    "first_model_hash": "abc",
    "problem_type": "multi_label_classification",
    "id2label": {0: "law", 1: "network", 2: "other"},
    "label2id": {"law": 0, "network": 1, "other": 2},
}


def tiny_bert(**changes: Any) -> BertConfig:
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    return BertConfig(**(settings | changes))


def refusal(first: PreTrainedConfig | dict[str, Any] | None = None, **fields: Any) -> str:
    with pytest.raises(StrideformerError) as caught:
        StrideformerConfig(first_model_config=first or tiny_bert(), **({"num_attention_heads": 4} | fields))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    return sentence


def test_defaults_are_those_of_0_2_0() -> None:
    config = StrideformerConfig()
    assert config.first_model_config.model_type == "bert"
    expected = {
        "freeze_first_model": True,
        "max_chunks": 128,
        "hidden_size": 384,
        "num_hidden_layers": 24,
        "num_attention_heads": 12,
        "intermediate_size": 4096,
        "hidden_act": "gelu",
        "dropout": 0.1,
        "layer_norm_eps": 1e-7,
        "initializer_range": 0.02,
        "max_length": 384,
        "stride": 128,
        "chunk_pooling": "mean",
        "normalize_embeddings": False,
        "chunk_layers": [-1],
        "chunk_positions": "none",
        "document_pooling": "mean",
        "chunk_vector_norm": "none",
        "norm_position": "post",
        "input_dropout": 0.0,
        "chunk_dropout": 0.0,
        "mix_chunk_statistics": [],
        "classifier_hidden_size": 0,
        "classifier_dropout": 0.0,
        "loss": "cross_entropy",
        "class_weights": None,
        "label_smoothing": 0.0,
        "num_labels": 2,
        "problem_type": None,
    }
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_from_two_configs_changes_neither_argument(as_dictionary: bool) -> None:
    given = tiny_bert().to_dict() if as_dictionary else tiny_bert()
    second = copy.deepcopy(CHANGED)
    kept = copy.deepcopy(given), copy.deepcopy(second)
    config = StrideformerConfig.from_two_configs(first_model_config=given, second_model_config=second)
    config.id2label[0] = "changed"
    config.label2id["changed"] = 0
    after = (given if isinstance(given, dict) else given.to_dict()), second
    before = (kept[0] if isinstance(kept[0], dict) else kept[0].to_dict()), kept[1]
    assert after == before


def test_round_trip_through_a_folder_and_auto_config(tmp_path: Path) -> None:
    config = StrideformerConfig.from_two_configs(tiny_bert(vocab_size=77), CHANGED)
    config.save_pretrained(tmp_path)
    for loaded in (StrideformerConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is StrideformerConfig
        assert type(loaded.first_model_config) is BertConfig
        assert loaded.first_model_config.vocab_size == 77
        assert {name: getattr(loaded, name) for name in CHANGED} == CHANGED
        assert loaded.num_labels == 3


def test_round_trip_through_json() -> None:
    config = StrideformerConfig.from_two_configs(tiny_bert(vocab_size=77), CHANGED)
    again = StrideformerConfig.from_dict(json.loads(config.to_json_string()))
    assert again.to_dict() == config.to_dict()
    assert {name: getattr(again, name) for name in CHANGED} == CHANGED


def test_local_path_of_the_first_model_is_not_written(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path / "encoder")
    first = AutoConfig.from_pretrained(tmp_path / "encoder")
    config = StrideformerConfig(first, num_attention_heads=4)
    config.save_pretrained(tmp_path / "saved")
    assert config.first_model_config._name_or_path == str(tmp_path / "encoder")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("/opt/lib/python3.11/site-packages/some_encoder/model", "package:some_encoder"),
        ("/usr/lib/python3/dist-packages/some_encoder/model", "package:some_encoder"),
        ("package:some_encoder", "package:some_encoder"),
        ("/data/encoder", ""),
        ("~/encoder", ""),
        ("./encoder", ""),
        ("here", ""),  # a folder that is there
        ("", ""),
    ],
)
def test_name_of_the_first_model_is_written_where_it_is_one_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    first = tiny_bert()
    first._name_or_path = given
    StrideformerConfig(first, num_attention_heads=4).save_pretrained(tmp_path)
    assert (StrideformerConfig.from_pretrained(tmp_path).first_model_config._name_or_path or "") == written
    assert (name_of_encoder(first) or "") == written or written == ""


def test_first_model_config_is_a_copy() -> None:
    given = tiny_bert()
    StrideformerConfig(given, num_attention_heads=4).first_model_config.vocab_size = 1
    assert given.vocab_size == tiny_bert().vocab_size


def test_generation_settings_that_0_2_0_wrote_are_not_taken_for_the_chunking() -> None:
    old = {
        "first_model_config": tiny_bert().to_dict(),
        "num_attention_heads": 4,
        "max_length": 20,  # transformers 4 had these in the dictionary of every config
        "min_length": 0,
        "num_beams": 1,
        "temperature": 1.0,
    }
    config = StrideformerConfig.from_dict(old)
    assert (config.max_length, config.stride) == (384, 128)
    assert StrideformerConfig.from_dict(old | {"stride": 3}).max_length == 20


def test_config_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    with pytest.raises(StrideformerError, match="this is the config of a bert model, not of a Strideformer"):
        StrideformerConfig.from_pretrained(tmp_path)


def test_first_model_as_dictionary_keeps_its_type_and_values() -> None:
    config = StrideformerConfig(RobertaConfig(hidden_size=32, vocab_size=55).to_dict(), num_attention_heads=4)
    assert type(config.first_model_config) is RobertaConfig
    assert config.first_model_config.vocab_size == 55
    assert config.hidden_size == 32


def test_labels_by_name_alone_give_labels_by_number() -> None:
    config = StrideformerConfig(tiny_bert(), num_attention_heads=4, label2id={"a": 0, "b": 1, "c": 2})
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert config.num_labels == 3


@pytest.mark.parametrize(("positions", "max_length", "stride"), [(64, 64, 21), (512, 384, 128), (200, 200, 66)])
def test_default_chunking_fits_the_encoder(positions: int, max_length: int, stride: int) -> None:
    config = StrideformerConfig(tiny_bert(max_position_embeddings=positions), num_attention_heads=4)
    assert (config.max_length, config.stride) == (max_length, stride)


def test_default_stride_fits_a_short_max_length() -> None:
    assert StrideformerConfig(tiny_bert(), num_attention_heads=4, max_length=30).stride == 10


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (BertConfig(max_position_embeddings=512), 512),
        (RobertaConfig(max_position_embeddings=514), 512),
        (MPNetConfig(max_position_embeddings=514), 512),
        (RobertaPreLayerNormConfig(max_position_embeddings=514), 512),
        (LongformerConfig(max_position_embeddings=4098), 4096),
        # As microsoft/deberta-v3-base has it; with positions added to the input a longer text fails.
        (DebertaV2Config(max_position_embeddings=512, position_biased_input=False), None),
        (DebertaV2Config(max_position_embeddings=512), 512),
    ],
)
def test_positions_that_an_encoder_has_for_tokens(config: PreTrainedConfig, limit: int | None) -> None:
    assert max_positions(config) == limit


@pytest.mark.parametrize("stride", [-1, 8, 10, 11])
def test_stride_outside_the_chunk_is_refused(stride: int) -> None:
    assert refusal(max_length=10, stride=stride).startswith(f"stride={stride} must be at least 0 and less than")


def test_largest_stride_is_accepted() -> None:
    assert StrideformerConfig(tiny_bert(), num_attention_heads=4, max_length=10, stride=7).stride == 7


def test_max_length_above_the_positions_is_refused() -> None:
    assert refusal(tiny_bert(max_position_embeddings=64), max_length=65, stride=4).startswith(
        "max_length=65 is more than the 64 positions"
    )
    roberta = RobertaConfig(hidden_size=32, max_position_embeddings=66)  # two of them are for padding
    assert refusal(roberta, max_length=65, stride=4).startswith("max_length=65 is more than the 64 positions")
    assert StrideformerConfig(roberta, num_attention_heads=4, max_length=64, stride=4).max_length == 64


def test_first_model_without_a_type_is_refused() -> None:
    assert refusal({"hidden_size": 32}).startswith("first_model_config has no model_type")
