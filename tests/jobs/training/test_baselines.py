from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import train
from jobs.train_settings import TrainSettings
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_encoder

TOPICS = {"law": "court law tax union".split(), "network": "packet route server client".split()}
KINDS = {
    "label": "accuracy",
    "topics": "f1_micro",
    "score": "r2",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder, and documents with a label of each kind."""
    folder = tmp_path_factory.mktemp("baselines")
    save_tiny_encoder(folder / "encoder", positions=32)
    generator = np.random.default_rng(0)
    labels = generator.choice(list(TOPICS), 120).tolist()
    texts = [" ".join(generator.choice(TOPICS[label], generator.integers(5, 60))) for label in labels]
    table = pa.table(
        {
            "text": texts,
            "label": labels,
            "topics": [["text", label] for label in labels],
            "score": [0.5 * (label == "law") for label in labels],
        }
    )
    pq.write_table(table, folder / "corpus.parquet")
    return folder


def settings(corpus: Path, output: Path, **more: object) -> TrainSettings:
    values: dict[str, object] = {
        "train": [str(corpus / "corpus.parquet")],
        "validation": 0.25,
        "output": str(output),
        "encoder": str(corpus / "encoder"),
        "max_length": 16,
        "stride": 4,
        "device": "cpu",
    }
    return TrainSettings.model_validate(values | more)


@pytest.mark.parametrize("baseline", ["tfidf", "mean"])
@pytest.mark.parametrize("column", KINDS)
def test_a_baseline_learns_every_kind_of_label(corpus: Path, tmp_path: Path, baseline: str, column: str) -> None:
    metric = KINDS[column]
    figures = train.run(settings(corpus, tmp_path / "out", baseline=baseline, label_column=column))
    assert figures[metric] > (0.7 if column == "score" else 0.9)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["metrics.json", "predictions.parquet"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["validation"] == figures
    predictions = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert predictions.num_rows in (29, 30)
    if column != "score":
        same = [sorted(row["label"]) == sorted(row["predicted"]) for row in predictions.to_pylist()]
        assert figures["accuracy"] == pytest.approx(sum(same) / len(same))


def test_the_first_tokens_alone(corpus: Path, tmp_path: Path) -> None:
    more = {"baseline": "truncate", "epochs": 3, "first_model_learning_rate": 3e-3, "max_length": None}
    output = tmp_path / "not" / "there" / "out"
    figures = train.run(settings(corpus, output, **more))
    assert figures["accuracy"] > 0.9
    config = json.loads((output / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert list(output.parent.iterdir()) == [output], "nothing is left beside it"
    with pytest.raises(StrideformerError, match="exists: choose a folder that does not"):
        train.run(settings(corpus, output, **more))
    with pytest.raises(StrideformerError, match="max_length=64 is more than the 32 positions"):
        train.run(settings(corpus, tmp_path / "other", **(more | {"max_length": 64})))
