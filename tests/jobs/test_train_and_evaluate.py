"""Each kind of label from the command line: train on a file, then evaluate the checkpoint on another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.fs as pafs
import pytest

from jobs import cli
from tests.tiny import TOPICS, WORDS_OF, save_tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def documents(number: int, seed: int, mislabelled: int = 0) -> list[dict[str, Any]]:
    """Texts of one or of both topics, as pairs too, with a label of each kind, of which the first few may be wrong."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        topics = [TOPICS[:1], TOPICS[1:], TOPICS][generator.integers(3)]
        words = [word for topic in topics for word in generator.choice(WORDS_OF[topic], generator.integers(10, 40))]
        if index < mislabelled:
            topics = TOPICS[:1] if topics != TOPICS[:1] else TOPICS[1:]
        rows.append(
            {
                "id": f"d{index}",
                "text": " ".join(words),
                "claim": "the court",
                "topics": list(topics),
                "score": 2.5 * ("law" in topics) - 1.0 * ("network" in topics),
                "topic": "+".join(topics),
            }
        )
    return rows


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif file.suffix == ".csv":
        names = [name for name in rows[0] if name != "topics"]
        file.write_text(",".join(names) + "\n" + "".join(",".join(str(row[n]) for n in names) + "\n" for row in rows))
    else:
        datasets.Dataset.from_list(rows).to_parquet(file)
    return file


KINDS: dict[str, tuple[str, list[str], str, float]] = {
    "single label": ("csv", ["--label-column", "topic"], "accuracy", 0.8),
    "several labels": ("jsonl", ["--label-column", "topics"], "f1_micro", 0.85),
    "a number": ("csv", ["--label-column", "score"], "r2", 0.7),
    "a pair": (
        "parquet",
        ["--label-column", "topic", "--text-column", "claim", "--pair-column", "text"],
        "accuracy",
        0.75,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_train_then_evaluate(tmp_path: Path, encoder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    extension, columns, metric, least = KINDS[kind]
    training = write(tmp_path / f"train.{extension}", documents(120, 1))
    # Of scores that are right throughout no temperature fits.
    other = write(tmp_path / f"other.{extension}", documents(60, 2, mislabelled=2))
    model, report = tmp_path / "model", tmp_path / "report.json"
    arguments = ["train", "--train", training, "--validation", "0.25", "--encoder", encoder, "--output", model]
    arguments += ["--max-length", "16", "--stride", "4", "--epochs", "15", "--learning-rate", "0.003"]
    arguments += ["--aggregator", "num_attention_heads=4", "--device", "cpu", "--id-column", "id", *columns]
    if kind == "a number":  # which a CSV file holds as a string
        assert cli.main([str(argument) for argument in arguments]) == 2
        assert "say what they are with --problem-type" in capsys.readouterr().err
        arguments += ["--problem-type", "regression"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    rival = "ridge regression" if kind == "a number" else "a linear SVM"
    assert f"training TF-IDF with {rival} to compare with" in capsys.readouterr().out
    figures = json.loads((model / "training.json").read_text())["validation"]
    assert figures[metric] > least
    arguments = ["evaluate", "--corpus", other, "--model", model, "--json", report, "--resamples", "100"]
    arguments += ["--device", "cpu", "--id-column", "id", *columns]
    assert cli.main([str(argument) for argument in arguments]) == 0
    found = json.loads(report.read_text())
    assert found["coverage"]["evaluated"] == 60
    assert found["figures"][metric]["value"] > least
    assert found["figures"][metric]["low"] <= found["figures"][metric]["value"] <= found["figures"][metric]["high"]
    baseline = [
        "train",
        "--train",
        training,
        "--validation",
        other,
        "--baseline",
        "tfidf",
        "--id-column",
        "id",
        *columns,
    ]
    baseline += ["--output", tmp_path / "tfidf", *(["--problem-type", "regression"] if kind == "a number" else [])]
    assert cli.main([str(argument) for argument in baseline]) == 0
    of_baseline = json.loads((tmp_path / "tfidf" / "metrics.json").read_text())["validation"]
    compared = [*arguments, "--against", tmp_path / "tfidf", "--overwrite"]
    assert cli.main([str(argument) for argument in compared]) == 0
    comparison = json.loads(report.read_text())["comparison"]
    assert comparison["documents"] == 60
    difference = found["figures"][metric]["value"] - of_baseline[metric]
    assert comparison["differences"][metric]["value"] == pytest.approx(difference, abs=1e-5)
    assert (comparison["p_value"] is None) == (kind == "a number")
    calibrate = cli.main([str(argument) for argument in [*arguments, "--calibrate", "--overwrite"]])
    config = json.loads((model / "config.json").read_text())
    if kind == "a number":
        assert calibrate == 2, "values are no probabilities"
        return
    assert calibrate == 0
    assert config["temperature"] != 1.0
    assert (config["thresholds"] is not None) == (kind == "several labels")


def test_a_data_set_by_name_is_trained_on(tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of the schema of the hub's health_fact: pairs, four classes by number, -1 where there is none."""
    names = ["false", "mixture", "true", "unproven"]
    schema = {"claim": datasets.Value("string"), "main_text": datasets.Value("string")}
    features = datasets.Features(schema | {"label": datasets.ClassLabel(names=names)})
    for split, seed in (("train", 1), ("validation", 2)):
        rows = documents(60, seed)
        kinds = sorted({row["topic"] for row in rows})
        labels = [-1 if index % 10 == 9 else kinds.index(row["topic"]) for index, row in enumerate(rows)]
        columns = {"claim": ["the court"] * 60, "main_text": [row["text"] for row in rows], "label": labels}
        datasets.Dataset.from_dict(columns, features).to_parquet(tmp_path / f"{split}.parquet")
    arguments = ["train", "--dataset", "health_fact", "--dataset-path", tmp_path, "--encoder", encoder]
    arguments += ["--max-length", "16", "--stride", "4", "--epochs", "15", "--learning-rate", "0.003"]
    arguments += ["--output", tmp_path / "model", "--aggregator", "num_attention_heads=4", "--device", "cpu"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert "training: 54 documents; 6 left out (6 missing_label)" in capsys.readouterr().out
    assert json.loads((tmp_path / "model" / "training.json").read_text())["validation"]["accuracy"] > 0.75
    assert "datasets:\n- health_fact" in (tmp_path / "model" / "README.md").read_text()


def test_documents_may_lie_in_object_storage(tmp_path: Path, encoder: Path, s3_bucket: str) -> None:
    filesystem = pafs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    for name, seed in (("train.jsonl", 1), ("other.jsonl", 2)):
        with filesystem.open_output_stream(f"{s3_bucket}/{name}") as stream:
            stream.write(write(tmp_path / name, documents(40, seed)).read_bytes())
    columns = ["--label-column", "topic", "--id-column", "id", "--device", "cpu"]
    arguments = ["train", "--train", f"s3://{s3_bucket}/train.jsonl", "--validation", f"s3://{s3_bucket}/other.jsonl"]
    arguments += ["--encoder", encoder, "--output", tmp_path / "model", "--max-length", "16", "--stride", "4"]
    arguments += ["--aggregator", "num_attention_heads=4", "--epochs", "2", *columns]
    assert cli.main([str(argument) for argument in arguments]) == 0
    report = f"s3://{s3_bucket}/report.json"
    arguments = ["evaluate", "--corpus", f"s3://{s3_bucket}/other.jsonl", "--model", tmp_path / "model"]
    assert cli.main([str(argument) for argument in [*arguments, "--json", report, *columns]]) == 0
    with filesystem.open_input_stream(f"{s3_bucket}/report.json") as stream:
        assert json.loads(stream.read())["coverage"]["evaluated"] == 40


def test_words_alone_need_no_encoder(tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "train.csv", documents(60, 1))
    arguments = ["train", "--train", tmp_path / "train.csv", "--validation", "0.25", "--label-column", "topic"]
    arguments += ["--baseline", "tfidf", "--output", tmp_path / "tfidf"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert cli.main([str(argument) for argument in [*arguments[:-4], "--output", tmp_path / "model"]]) == 2
    assert "give the sentence transformer to train over, with --encoder" in capsys.readouterr().err
