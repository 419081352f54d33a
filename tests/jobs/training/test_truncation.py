"""Each kind of long or short encoder that the truncating baseline is for, tiny and new, on more than it can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    BigBirdConfig,
    BigBirdModel,
    DebertaV2Config,
    DebertaV2Model,
    LongformerConfig,
    LongformerModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from jobs import train
from jobs.train_settings import TrainSettings
from tests.tiny import tiny_tokenizer, write_topics

SHAPE: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "initializer_range": 0.3,
}
# The class, its config, and how many tokens of a document it reads by itself. Longformer and RoBERTa count positions
# from behind the padding token's; BigBird's sparse attention begins at (5 + 2 × random blocks) × block size.
ENCODERS: dict[str, tuple[Any, Any, int]] = {
    "longformer": (LongformerModel, LongformerConfig(**SHAPE, max_position_embeddings=97, attention_window=[16]), 96),
    "big_bird": (
        BigBirdModel,
        BigBirdConfig(**SHAPE, max_position_embeddings=96, block_size=8, num_random_blocks=2),
        96,
    ),
    "modernbert": (ModernBertModel, ModernBertConfig(**SHAPE, max_position_embeddings=96, local_attention=16), 96),
    "deberta-v2": (
        DebertaV2Model,
        DebertaV2Config(
            **SHAPE,
            max_position_embeddings=48,
            relative_attention=True,
            position_buckets=8,
            position_biased_input=False,
            pos_att_type=["c2p", "p2c"],
        ),
        512,
    ),
    "deberta-v2-with-positions": (DebertaV2Model, DebertaV2Config(**SHAPE, max_position_embeddings=48), 48),
    "roberta": (RobertaModel, RobertaConfig(**SHAPE, max_position_embeddings=49), 48),
}


def settings(tmp_path: Path, **more: Any) -> TrainSettings:
    values = {
        "train": [str(tmp_path / "train.parquet")],
        "validation": "0.3",
        "output": str(tmp_path / "out"),
        "encoder": str(tmp_path / "encoder"),
        "baseline": "truncate",
        "epochs": 3,
        "batch_size": 4,
        "first_model_learning_rate": 3e-3,
        "device": "cpu",
    }
    return TrainSettings.model_validate(values | more)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_reads_its_own_length(tmp_path: Path, name: str) -> None:
    kind, config, length = ENCODERS[name]
    torch.manual_seed(0)
    kind(config).save_pretrained(tmp_path / "encoder")
    tiny_tokenizer(tmp_path / "encoder")
    write_topics(tmp_path / "train.parquet", 40, longest=200)
    figures = train.run(settings(tmp_path, label_column="topic"))
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["max_length"] == length
    assert record["validation"] == figures
    assert figures["accuracy"] > 0.7
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["architectures"] == [kind.__name__.removesuffix("Model") + "ForSequenceClassification"]


def test_a_regression_is_learnt_in_standard_form_and_told_in_its_own_unit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind, config, _ = ENCODERS["roberta"]
    kind(config).save_pretrained(tmp_path / "encoder")
    tiny_tokenizer(tmp_path / "encoder")
    write_topics(tmp_path / "topics.parquet", 40, longest=200)
    table = pq.read_table(tmp_path / "topics.parquet")
    law = pc.equal(table.column("topic"), table.column("topic")[0])
    years = pc.if_else(law, 2020.0, 1990.0)
    pq.write_table(table.append_column("year", years), tmp_path / "train.parquet")
    figures = train.run(settings(tmp_path, label_column="year", problem_type="regression", epochs=4))
    assert figures["mean_absolute_error"] < 12, "where all are 2005, it is 15"
    predicted = pq.read_table(tmp_path / "out" / "predictions.parquet").column("predicted").to_pylist()
    assert all(1960 < year < 2050 for year in predicted)
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert 1990 < saved["target_means"][0] < 2020
