from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertModel

from jobs import train
from jobs.train_settings import TrainSettings
from strideformer import Pipeline
from strideformer.errors import StrideformerError
from tests.tiny import tiny_tokenizer

TOPICS = {"law": "court law tax union".split(), "network": "packet route server client".split()}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    tiny_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def corpus(file: Path, number: int, seed: int, labels: list[str] | None = None) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    labels = labels or [str(label) for label in generator.choice(list(TOPICS), number)]
    texts = [" ".join(generator.choice(TOPICS.get(label, ["the"]), generator.integers(5, 80))) for label in labels]
    pq.write_table(pa.table({"text": texts, "label": labels}), file)
    return texts, labels


def settings(tmp_path: Path, encoder: Path, **more: object) -> TrainSettings:
    values: dict[str, object] = {
        "train": [str(tmp_path / "train.parquet")],
        "output": str(tmp_path / "model"),
        "validation": str(tmp_path / "validation.parquet"),
        "encoder": str(encoder),
        "max_length": 16,
        "stride": 4,
        "aggregator": {"num_attention_heads": 4, "intermediate_size": 32},
        "epochs": 6,
        "learning_rate": 3e-3,
        "device": "cpu",
    }
    return TrainSettings.model_validate(values | more)


def test_a_trained_checkpoint_labels_documents_it_has_not_seen(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    corpus(tmp_path / "validation.parquet", 30, 2)
    assert train.run(settings(tmp_path, encoder))["accuracy"] > 0.9
    texts, labels = corpus(tmp_path / "other.parquet", 40, 3)
    predictions = Pipeline(tmp_path / "model", device="cpu")(texts)
    right = sum(prediction.label == label for prediction, label in zip(predictions, labels, strict=True))
    assert right >= 36
    assert (tmp_path / "model" / "tokenizer.json").exists()
    with pytest.raises(StrideformerError, match="exists: choose a folder that does not"):
        train.run(settings(tmp_path, encoder))


def test_what_is_wrong_with_the_data_is_told_before_training(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 10, 1)
    corpus(tmp_path / "validation.parquet", 3, 2, ["law", "other", "law"])
    with pytest.raises(StrideformerError, match="labels that training has not: other"):
        train.run(settings(tmp_path, encoder))
    with pytest.raises(StrideformerError, match=r"--aggregator layers: there is no such field, use one of .*dropout"):
        train.run(settings(tmp_path, encoder, aggregator={"layers": 3}, validation="0.3"))
    with pytest.raises(StrideformerError, match="metric 'r2' does not suit"):
        train.run(settings(tmp_path, encoder, metric="r2", validation="0.3"))
    assert not (tmp_path / "model").exists()
