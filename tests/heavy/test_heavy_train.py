"""Training in two processes of a real Ray cluster."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import train
from jobs.train_settings import TrainSettings
from strideformer import Pipeline
from tests.tiny import save_tiny_checkpoint


@pytest.mark.usefixtures("ray_cluster")
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    encoder = save_tiny_checkpoint(tmp_path / "checkpoint")
    import transformers

    from strideformer import Strideformer

    Strideformer.from_pretrained(encoder).first_model.save_pretrained(tmp_path / "encoder")
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "encoder")
    texts = [("court law " if index % 2 else "packet route ") * (5 + index % 17) for index in range(80)]
    labels = ["law" if index % 2 else "network" for index in range(80)]
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "train.parquet")
    settings = {
        "train": [str(tmp_path / "train.parquet")],
        "validation": "0.2",
        "output": str(tmp_path / "model"),
        "encoder": str(tmp_path / "encoder"),
        "max_length": 16,
        "stride": 4,
        "epochs": 4,
        "learning_rate": 3e-3,
        "batch_size": 8,
        "device": "cpu",
        "workers": 2,
    }
    assert train.run(TrainSettings.model_validate(settings))["accuracy"] == 1.0
    assert [prediction.label for prediction in Pipeline(tmp_path / "model", device="cpu")(texts[:2])] == labels[:2]
    assert not (tmp_path / "model" / "_training").exists()
