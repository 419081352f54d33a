from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from jobs import train
from jobs.train_settings import TrainSettings
from jobs.training.folder import TrainingFolder
from jobs.training.run import cut_documents
from strideformer import Pipeline, Strideformer
from strideformer.errors import StrideformerError
from strideformer.locations import checkpoint_folders
from tests.tiny import save_tiny_checkpoint, save_tiny_encoder

TOPICS = {"law": "court law tax union".split(), "network": "packet route server client".split()}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder"))


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


def test_a_checkpoint_with_its_frozen_encoder_needs_no_other_folder(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    texts, _ = corpus(tmp_path / "other.parquet", 10, 3)
    ours = shutil.copytree(encoder, tmp_path / "encoder")
    common = {"validation": "0.25", "epochs": 2, "compare_baselines": False}
    train.run(settings(tmp_path, ours, **common))
    train.run(settings(tmp_path, ours, **common, include_first_model=True, output=str(tmp_path / "whole")))
    expected = [prediction.scores for prediction in Pipeline(tmp_path / "model", device="cpu")(texts)]
    ours.rename(tmp_path / "elsewhere")
    with pytest.raises(StrideformerError, match="is no folder"):
        Pipeline(tmp_path / "model", device="cpu")
    assert [prediction.scores for prediction in Pipeline(tmp_path / "whole", device="cpu")(texts)] == expected
    assert checkpoint_folders(str(tmp_path / "whole")).keys() == {"checkpoint"}


def test_the_aggregator_may_be_narrower_than_the_encoder(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    narrow = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    assert train.run(settings(tmp_path, encoder, validation="0.25", aggregator=narrow))["accuracy"] > 0.9
    assert json.loads((tmp_path / "model" / "config.json").read_text())["hidden_size"] == 16


def test_epochs_by_default_are_recorded_as_they_were(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    train.run(settings(tmp_path, encoder, validation="0.25", epochs=None, compare_baselines=False))
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["settings"]["epochs"] == len(record["history"]) == 30


def test_what_is_wrong_with_the_data_is_told_before_training(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 10, 1)
    corpus(tmp_path / "validation.parquet", 3, 2, ["law", "other", "law"])
    with pytest.raises(StrideformerError, match="labels that training has not: other"):
        train.run(settings(tmp_path, encoder))
    with pytest.raises(StrideformerError, match=r"--aggregator layers: there is no such field, use one of .*dropout"):
        train.run(settings(tmp_path, encoder, aggregator={"layers": 3}, validation="0.3"))
    with pytest.raises(StrideformerError, match=r"--aggregator dropout=x: a value is of a wrong kind"):
        train.run(settings(tmp_path, encoder, aggregator={"dropout": "x"}, validation="0.3"))
    with pytest.raises(StrideformerError, match=r"--aggregator class_weights=other: a value is of a wrong kind"):
        train.run(settings(tmp_path, encoder, aggregator={"class_weights": "other"}, validation="0.3"))
    with pytest.raises(StrideformerError, match=r"class_weights has 3 numbers for num_labels=2: give one a label"):
        train.run(settings(tmp_path, encoder, aggregator={"class_weights": [1, 2, 3]}, validation="0.3"))
    with pytest.raises(StrideformerError, match=r"is a Strideformer: give the encoder that it was trained over"):
        train.run(settings(tmp_path, save_tiny_checkpoint(tmp_path / "checkpoint"), validation="0.3"))
    with pytest.raises(StrideformerError, match="metric 'r2' does not suit"):
        train.run(settings(tmp_path, encoder, metric="r2", validation="0.3"))
    assert not (tmp_path / "model").exists()


def test_a_second_model_that_training_broke_is_told(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    train.run(settings(tmp_path, encoder, validation="0.25", epochs=1))
    assert "says the same of every chunk" not in capsys.readouterr().out
    monkeypatch.setattr("jobs.training.run.LEAST_SPREAD", 1e3)
    train.run(settings(tmp_path, encoder, validation="0.25", epochs=1, output=str(tmp_path / "again")))
    assert "WARNING: the second model says the same of every chunk" in capsys.readouterr().out


def test_a_model_card_says_what_the_checkpoint_is(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus(tmp_path / "train.parquet", 80, 1)
    weighted = {"num_attention_heads": 4, "intermediate_size": 32, "class_weights": "balanced"}
    train.run(settings(tmp_path, encoder, validation="0.25", epochs=1, learning_rate=1e-9, aggregator=weighted))
    assert len(json.loads((tmp_path / "model" / "config.json").read_text())["class_weights"]) == 2
    assert "WARNING: this model loses to TF-IDF with a linear SVM: validation accuracy" in capsys.readouterr().out
    card = (tmp_path / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "strideformer"
    assert "| metric | value | tfidf |" in card
    assert "- law: " in card
    assert len([line for line in card.splitlines() if line.startswith(("| law |", "| network |"))]) == 2
    assert "| max_length | 16 |" in card
    assert "every document is read whole, with " in card
    assert "| num_hidden_layers | 1 |" in card
    assert "| epochs | 1 |" in card
    assert "WARNING: this model loses to TF-IDF" in card
    assert "| torch | " in card
    assert str(tmp_path) not in card + (tmp_path / "model" / "training.json").read_text().replace(str(encoder), "")
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["baselines"]["tfidf"]["accuracy"] > record["validation"]["accuracy"]
    assert not (tmp_path / "model" / "_training").exists()


def test_documents_that_are_not_read_whole_are_told() -> None:
    told = cut_documents(np.array([1, 8, 8]), np.array([3]), 8)
    assert told.startswith("2 of 3 training and 0 of 1 validation documents fill all 8 chunks: ")
    assert cut_documents(np.array([1, 7]), np.array([4]), 8).endswith("with 4.0 chunks on average")


@pytest.mark.parametrize("bags", [False, True])
def test_several_labels_and_pairs_with_a_trained_encoder(tmp_path: Path, encoder: Path, bags: bool) -> None:
    texts, labels = corpus(tmp_path / "plain.parquet", 80, 1)
    rows = {"claim": ["court"] * 80, "body": texts, "topics": [[label, "text"] for label in labels]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    more = {"text_column": "claim", "pair_column": "body", "label_column": "topics", "validation": "0.25"}
    more |= {"freeze_first_model": False, "epochs": 8, "first_model_learning_rate": 1e-3, "train_max_chunks": 3}
    more["aggregator"] = {"num_attention_heads": 4, "bag_of_tokens": bags}
    assert train.run(settings(tmp_path, encoder, **more))["f1_micro"] > 0.9
    assert (Strideformer.from_pretrained(tmp_path / "model").bag_of_tokens is not None) == bags
    predictions = Pipeline(tmp_path / "model", device="cpu")([("court", texts[0]), ("court", texts[1])])
    assert [sorted(prediction.label) for prediction in predictions] == [sorted([label, "text"]) for label in labels[:2]]


def test_a_regression_of_a_number(tmp_path: Path, encoder: Path) -> None:
    texts, labels = corpus(tmp_path / "plain.parquet", 120, 1)
    rows = {"text": texts, "score": [0.5 * (label == "law") for label in labels]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    more = {"label_column": "score", "validation": "0.25", "epochs": 15}
    assert train.run(settings(tmp_path, encoder, **more))["r2"] > 0.6


def test_a_regression_of_numbers_far_from_0(tmp_path: Path, encoder: Path) -> None:
    """Years: what a new classifier says is near 0, and no learning rate brings it to 2000 in a few hundred steps."""
    texts, labels = corpus(tmp_path / "plain.parquet", 120, 1)
    rows = {"text": texts, "year": [2020.0 if label == "law" else 1990.0 for label in labels]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    more = {"label_column": "year", "problem_type": "regression", "validation": "0.25", "epochs": 15}
    assert train.run(settings(tmp_path, encoder, **more))["mean_absolute_error"] < 8
    predictions = Pipeline(tmp_path / "model", device="cpu")(texts[:40])
    wrong = [abs(prediction.score - year) for prediction, year in zip(predictions, rows["year"][:40], strict=True)]
    assert sum(wrong) / 40 < 8


def test_a_run_that_diverges_gives_no_checkpoint(tmp_path: Path, encoder: Path) -> None:
    corpus(tmp_path / "train.parquet", 40, 1)
    with pytest.raises(StrideformerError, match=r"training diverged.*lower --learning-rate than 1e\+30"):
        train.run(settings(tmp_path, encoder, validation="0.25", epochs=2, learning_rate=1e30))
    assert not (tmp_path / "model" / "config.json").exists()


def test_a_run_that_is_killed_goes_on(tmp_path: Path, encoder: Path) -> None:
    """A real SIGKILL, once the first checkpoint is there."""
    corpus(tmp_path / "train.parquet", 80, 1)
    corpus(tmp_path / "validation.parquet", 30, 2)
    whole = train.run(settings(tmp_path, encoder, output=str(tmp_path / "whole"), epochs=40))
    kept = settings(tmp_path, encoder, epochs=40)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(kept.model_dump(mode="json")))
    command = [sys.executable, "-m", "jobs.train", "--config", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "model" / "_training"
    while process.poll() is None and not list(work.glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "model" / "training.json").exists(), "killed before its end"
    with pytest.raises(StrideformerError, match="or go on with --resume"):
        train.run(kept)
    with pytest.raises(StrideformerError, match="had epochs 40 in place of 41: resume it with the same"):
        train.run(settings(tmp_path, encoder, epochs=41, resume=True))
    assert train.run(settings(tmp_path, encoder, epochs=40, resume=True)) == pytest.approx(whole, abs=1e-6)
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "whole"))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-6)
    assert train.run(settings(tmp_path, encoder, epochs=40, resume=True)) == {}, "finished: nothing is done again"


def test_a_run_that_goes_on_is_not_gone_on_with(tmp_path: Path, encoder: Path) -> None:
    with TrainingFolder(str(tmp_path / "model")) as folder:
        folder.begin(False, {})
        with pytest.raises(StrideformerError, match=r"model is being written by process .* wait for it to finish"):
            train.run(settings(tmp_path, encoder, resume=True))  # there are no documents that it could read


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_an_encoder_that_has_changed_in_its_folder_is_not_gone_on_with(
    tmp_path: Path, encoder: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path / "train.parquet", 40, 1)
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)

    def killed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jobs.training.run.cut_documents", killed)
        with pytest.raises(KeyboardInterrupt):
            train.run(settings(tmp_path, folder, validation="0.25", epochs=1))
    if part == "weights":
        weights = load_file(folder / "model.safetensors")
        weights["embeddings.LayerNorm.bias"] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace('"court"', '"courts"'))
    again = {"validation": "0.25", "epochs": 1, "resume": True}
    with pytest.raises(StrideformerError, match="had another encoder: resume it with the same, or choose"):
        train.run(settings(tmp_path, folder, **again))
    shutil.rmtree(folder)
    shutil.copytree(encoder, folder)
    assert train.run(settings(tmp_path, folder, **again))


def test_tensorboard_holds_the_curves(tmp_path: Path, encoder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    corpus(tmp_path / "train.parquet", 40, 1)
    train.run(settings(tmp_path, encoder, validation="0.25", epochs=3, report_to="tensorboard"))
    curves = EventAccumulator(str(tmp_path / "model" / "logs")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [2, 4, 6]
    assert len(curves.Scalars("eval/accuracy")) == 3
