from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from jobs import train
from jobs.train_settings import TrainSettings
from jobs.training.data import load_data
from jobs.training.starting_point import StartingPoint
from strideformer import Pipeline, Strideformer
from strideformer.checkpoint import checkpoint_folders
from strideformer.errors import StrideformerError
from tests.tiny import WORDS_OF, save_tiny_checkpoint, save_tiny_encoder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run over a frozen encoder, with a bag of tokens, calibrated."""
    folder = tmp_path_factory.mktemp("first")
    corpus(folder / "train.parquet", 60, 1)
    corpus(folder / "validation.parquet", 20, 2)
    encoder = str(save_tiny_encoder(folder / "encoder"))
    aggregator = {"num_attention_heads": 4, "intermediate_size": 32}
    train.run(settings(folder, encoder=encoder, max_length=16, stride=4, aggregator=aggregator, epochs=8))
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps(config | {"temperature": 0.5}))
    return folder


def corpus(file: Path, number: int, seed: int, labels: Sequence[str] = tuple(WORDS_OF)) -> list[str]:
    generator = np.random.default_rng(seed)
    chosen = [str(label) for label in generator.choice(labels, number)]
    texts = [" ".join(generator.choice(WORDS_OF[label], generator.integers(5, 80))) for label in chosen]
    pq.write_table(pa.table({"text": texts, "label": chosen}), file)
    return texts


def settings(folder: Path, output: str = "model", **more: object) -> TrainSettings:
    values: dict[str, object] = {
        "train": [str(folder / "train.parquet")],
        "validation": str(folder / "validation.parquet"),
        "output": str(folder / output),
        "learning_rate": 3e-3,
        "device": "cpu",
        "compare_baselines": False,
    }
    return TrainSettings.model_validate(values | more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in Strideformer.from_pretrained(folder).state_dict().items()}


def test_a_run_begins_with_the_weights_labels_and_chunking_of_a_checkpoint(tmp_path: Path, first: Path) -> None:
    texts = corpus(tmp_path / "train.parquet", 30, 3)
    corpus(tmp_path / "validation.parquet", 10, 4, ["network"])  # not all of its labels
    before = weights(first / "model")
    start = {"start_from": str(first / "model"), "epochs": 1, "learning_rate": 1e-12}
    figures = train.run(settings(tmp_path, **start))
    after = weights(tmp_path / "model")
    assert after.keys() == before.keys()
    for name in before:
        if not name.startswith("chunk_inputs.norm"):  # running figures, to which these documents add
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)
    pipelines = [Pipeline(folder / "model", device="cpu") for folder in (first, tmp_path)]
    config, calibrated = pipelines[1].model.config, pipelines[0].model.config
    assert (config.temperature, calibrated.temperature) == (1.0, 0.5), "it is another model: to be calibrated anew"
    assert (config.max_length, config.stride, config.id2label) == (16, 4, {0: "law", 1: "network"})
    assert checkpoint_folders(str(tmp_path / "model"))["encoder"] == first / "encoder"
    assert figures["accuracy"] == 1.0
    given = [[prediction.label for prediction in pipeline(texts)] for pipeline in pipelines]
    assert given[0] == given[1]
    assert str(first) not in (tmp_path / "model" / "README.md").read_text()
    assert "from an earlier checkpoint on" in (tmp_path / "model" / "README.md").read_text()


def test_an_encoder_is_trained_from_a_frozen_model_on_and_then_frozen_again(tmp_path: Path, first: Path) -> None:
    """Frozen again, the trained encoder is nowhere but in the checkpoint, which must not leave it out."""
    data = {"train": [str(first / "train.parquet")], "validation": str(first / "validation.parquet"), "epochs": 1}
    trained = {"freeze_first_model": False, "first_model_dropout": 0, "aggregator": {"label_smoothing": 0.0}}
    train.run(settings(tmp_path, "both", **data, **trained, start_from=str(first / "model")))
    train.run(settings(tmp_path, "again", **data, start_from=str(tmp_path / "both")))
    models = [weights(folder) for folder in (first / "model", tmp_path / "both", tmp_path / "again")]
    name = "first_model.embeddings.word_embeddings.weight"
    assert not torch.equal(models[0][name], models[1][name])
    assert torch.equal(models[1][name], models[2][name])
    assert not torch.equal(models[1]["classifier.weight"], models[2]["classifier.weight"])
    configs = [json.loads((tmp_path / each / "config.json").read_text()) for each in ("both", "again")]
    assert [(config["dropout"], config["label_smoothing"]) for config in configs] == [(0.2, 0.0)] * 2
    assert checkpoint_folders(str(tmp_path / "again")).keys() == {"checkpoint"}


def test_what_only_the_new_config_has_is_new(tmp_path: Path, first: Path) -> None:
    data = {"train": [str(first / "train.parquet")], "validation": str(first / "validation.parquet"), "epochs": 1}
    without = {"aggregator": {"bag_of_tokens": False, "num_hidden_layers": 0}, "learning_rate": 1e-12}
    train.run(settings(tmp_path, "without", **data, **without, start_from=str(first / "model")))
    assert not any(name.startswith(("bag_of_tokens", "second_model.")) for name in weights(tmp_path / "without"))
    more = {"aggregator": {"bag_of_tokens": True}}
    train.run(settings(tmp_path, "with", **data, **more, start_from=str(tmp_path / "without")))
    found, before = weights(tmp_path / "with"), weights(first / "model")
    frequencies = "bag_of_tokens.inverse_document_frequency"
    assert torch.equal(found[frequencies], before[frequencies]), "fitted to the same documents"


def test_a_bag_keeps_the_frequencies_that_its_weights_were_trained_with(tmp_path: Path, first: Path) -> None:
    run = settings(first, start_from=str(first / "model"))
    start = StartingPoint.of(run)
    assert start is not None
    data = load_data(run, 0, start.encoding)
    bag = start.new_model(start.new_config(run, data), 0).bag_of_tokens
    assert bag is not None
    assert bag.is_fitted


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"problem_type": "regression"}, "model is of single_label_classification: leave it out"),
        ({"aggregator": {"hidden_size": 16}}, r"has the shape \(.*\) there and \(.*\) with these settings: leave out"),
        ({"aggregator": {"dropout": "x"}}, "--aggregator dropout=x: a value is of a wrong kind"),
        ({"aggregator": {"layers": 1}}, "--aggregator layers: there is no such field"),
        ({"label_column": "other"}, r"labels that .*/model has not: elsewhere \(30 times\): leave those documents out"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_told_before_training(
    tmp_path: Path, first: Path, more: dict[str, object], message: str
) -> None:
    corpus(tmp_path / "train.parquet", 40, 5)
    table = pq.read_table(tmp_path / "train.parquet")
    table = table.append_column("other", pa.array(["elsewhere"] * 40))
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(StrideformerError, match=message):
        train.run(settings(tmp_path, start_from=str(first / "model"), validation="0.25", **more))
    assert not (tmp_path / "model").exists()


def test_an_encoder_is_no_starting_point(tmp_path: Path, first: Path) -> None:
    with pytest.raises(StrideformerError, match=r"is a bert model, not a Strideformer checkpoint"):
        train.run(settings(first, "other", start_from=str(first / "encoder")))


@pytest.mark.parametrize(
    ("more", "message"),
    [({"encoder": "b"}, "--start-from has an encoder"), ({"baseline": "mean"}, "does not know --start-from")],
)
def test_settings_that_contradict_a_starting_point_are_refused(more: dict[str, str], message: str) -> None:
    given = {"train": ["a"], "validation": "b", "output": "c", "start_from": "d"}
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(given | more)


def test_a_run_is_not_resumed_from_another_checkpoint(tmp_path: Path, first: Path) -> None:
    run = settings(first, output="resumed", start_from=str(first / "model"), epochs=1)
    work = first / "resumed" / "_training"
    train.run(run)
    train.run(run.model_copy(update={"output": str(tmp_path / "kept")}))
    shutil.rmtree(first / "resumed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.training.run._documents", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.run(run)
    assert json.loads((work / "run.json").read_text())["start"]
    other = run.model_copy(update={"start_from": str(tmp_path / "kept"), "resume": True})
    with pytest.raises(StrideformerError, match="had another start: resume it with the same"):
        train.run(other)
    train.run(run.model_copy(update={"resume": True}))
    assert (first / "resumed" / "model.safetensors").exists()


def test_a_checkpoint_that_does_not_say_what_its_labels_are_is_taken_as_everywhere(tmp_path: Path) -> None:
    folder = save_tiny_checkpoint(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": None}))
    start = StartingPoint.of(settings(tmp_path, start_from=str(folder)))
    assert start is not None
    assert start.encoding.problem_type == "single_label_classification"
    assert start.encoding.names == tuple(config["id2label"].values())
