from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from jobs.evaluate_settings import EvaluateSettings
from jobs.model_source import ModelSource
from jobs.output.commit import QUARANTINE_SCHEMA
from strideformer import Pipeline, StrideformerConfig
from strideformer.checkpoint import checkpoint_folders
from strideformer.encoder import load_tokenizer
from strideformer.predictions import LabelSpace
from tests.tiny import LABELS, save_tiny_checkpoint, write_corpus

LAW, NETWORK, OTHER = LABELS


def write_predictions(
    folder: Path,
    ids: list[str],
    scores: np.ndarray,
    labels: list[Any],
    kept: dict[str, Any] | None = None,
    quarantined: tuple[str, ...] = (),
    model: str = "",
) -> Path:
    """What classify writes of these scores, in two parts."""
    folder.mkdir()
    values = {"doc_id": pa.array(ids, pa.string())}
    values["label"] = pa.array(labels, None if any(labels) else pa.string())
    columns = [pa.array(column) for column in scores.astype(np.float32).T.copy()]
    values["score"] = pa.array(scores.max(axis=1).astype(np.float32))
    values["scores"] = pa.StructArray.from_arrays(columns, names=list(LABELS[: scores.shape[1]]))
    values["num_tokens"] = pa.array(np.arange(len(ids)) * 400 + 100)
    values["truncated"] = pa.array(np.zeros(len(ids), bool))
    table = pa.table(values | (kept or {}))
    pq.write_table(table.slice(0, 2), folder / "part-00000000.parquet")
    pq.write_table(table.slice(2), folder / "part-00000001.parquet")
    if quarantined:
        (folder / "_quarantine").mkdir()
        rows = [{"doc_id": name, "reason": "empty_text"} for name in quarantined]
        pq.write_table(
            pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), folder / "_quarantine" / "part-00000001.parquet"
        )
    (folder / "_strideformer").mkdir()
    (folder / "_strideformer" / "job.json").write_text(json.dumps({"fingerprint": {"model": model}}))
    (folder / "_SUCCESS").write_text("{}")
    return folder


def single(folder: Path, given: list[int], **more: Any) -> Path:
    scores = np.full((len(given), 3), 0.1)
    scores[np.arange(len(given)), given] = 0.8
    ids = [f"d{index}" for index in range(len(given))]
    return write_predictions(folder, ids, scores, [LABELS[index] for index in given], **more)


def call(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    file = tmp_path / "report.json"
    assert evaluate.main([*map(str, arguments), "--json", str(file), "--overwrite", "--resamples", "100"]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert evaluate.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def fingerprint(model: Path) -> str:
    folders = checkpoint_folders(str(model))
    return ModelSource.of(folders, load_tokenizer(model).backend_tokenizer.to_str()).fingerprint


def test_labels_are_matched_by_id_and_what_has_no_match_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = single(tmp_path / "out", [0, 1, 2, 0, 1, 2], quarantined=("empty",))
    labels = tmp_path / "labels.csv"
    rows = ["d1,network", "d0,law", "d2,law", "d3,shipping", "d4,", "empty,law", "gone,other"]
    labels.write_text("\n".join(["id,topic", *rows]) + "\n")
    report = call(tmp_path, predictions, "--labels", labels, "--id-column", "id", "--label-column", "topic")
    coverage = report["coverage"]
    assert {name: coverage[name] for name in coverage if name != "unknown_labels"} == {
        "predictions": 6,
        "labels": 6,
        "evaluated": 3,
        "quarantined": 1,
        "without_prediction": 1,
        "without_label": 2,
        "unknown_label": 1,
        "not_finite": 0,
        "unreadable": {},
    }
    assert coverage["unknown_labels"] == {"shipping": 1}
    assert report["figures"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert report["accuracy_of_all_labelled"] == pytest.approx(2 / 6)
    assert report["confusion"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    shown = capsys.readouterr().out
    assert "3 of 6 labelled documents evaluated." in shown
    assert "Labels that the model does not have: shipping (1)." in shown
    assert "66.7 %" in shown
    assert "F1 (95 % interval)" in shown


def test_labels_may_be_a_column_that_classify_kept(tmp_path: Path) -> None:
    truth = pa.array([LAW, NETWORK, LAW, None, NETWORK])
    predictions = single(tmp_path / "out", [0, 1, 2, 0, 1], kept={"truth": truth}, quarantined=("x",))
    report = call(tmp_path, predictions, "--label-column", "truth", "--length-buckets", "300,600")
    assert report["figures"]["accuracy"]["value"] == 0.75
    assert [(row["up_to"], row["documents"]) for row in report["by_length"]] == [(300, 1), (600, 1), (None, 2)]
    assert (report["coverage"]["without_label"], report["coverage"]["quarantined"]) == (1, 1)


def test_a_length_that_is_not_known_is_told_as_more_than_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = single(tmp_path / "out", [0, 1, 2], kept={"truth": pa.array([LAW, NETWORK, LAW])})
    part = predictions / "part-00000001.parquet"
    table = pq.read_table(part)
    place = table.column_names.index("truncated")
    pq.write_table(table.set_column(place, "truncated", pa.array([True])), part)
    report = call(tmp_path, predictions, "--label-column", "truth")
    assert [(row["up_to"], row["documents"]) for row in report["by_length"]] == [(512, 2)]
    assert (report["truncated"]["above"], report["truncated"]["documents"]) == (900, 1)
    assert "above 900, end not read" in capsys.readouterr().out


def test_labels_that_cannot_be_read_are_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = single(tmp_path / "out", [0, 1, 2])
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "b.jsonl").write_text('{"id": "d0", "label": "law"}\n{"id": "d1", \n{"id": "d2", "label": "law"}\n')
    by_id = (predictions, "--labels", labels, "--id-column", "id")
    for broken in (["a.parquet"], ["a.parquet", "c.parquet"]):
        for name in broken:
            (labels / name).write_bytes(b"no such file")
        report = call(tmp_path, *by_id)
        assert report["figures"]["accuracy"]["value"] == 0.5
        whole = {f"{labels / name}: unreadable_file": 1 for name in broken}
        assert report["coverage"]["unreadable"] == whole | {f"{labels / 'b.jsonl'}: malformed_record": 1}
        assert f"{len(broken) + 1} rows or files of the labels" in capsys.readouterr().out
    (labels / "b.jsonl").write_text('{"id": "d1", \n')
    assert "can be used; the first:" in fails(capsys, *by_id)
    for file in labels.iterdir():
        file.unlink()
    pq.write_table(pa.table({"id": ["d0"] * 99, "label": ["law"] * 99}), labels / "a.parquet")
    content = bytearray((labels / "a.parquet").read_bytes())
    content[4:60] = b"x" * 56  # the footer is whole
    (labels / "a.parquet").write_bytes(content)
    assert "no row of the labels can be read" in fails(capsys, *by_id)


@pytest.mark.parametrize("truth", [[0, 2, 2], [0.0, 2.0, 2.0]], ids=["integers", "as pandas leaves them"])
def test_whole_numbers_are_labels_of_that_name(tmp_path: Path, truth: list[float]) -> None:
    predictions = single(tmp_path / "out", [0, 1, 2])
    for part in predictions.glob("part-*.parquet"):
        table = pq.read_table(part)
        numbered = pa.StructArray.from_arrays(table.column("scores").combine_chunks().flatten(), names=["0", "1", "2"])
        names = pa.array([str(LABELS.index(name)) for name in table.column("label").to_pylist()])
        pq.write_table(table.set_column(1, "label", names).set_column(3, "scores", numbered), part)
    pq.write_table(pa.table({"id": ["d0", "d1", "d2"], "label": truth}), tmp_path / "labels.parquet")
    report = call(tmp_path, predictions, "--labels", tmp_path / "labels.parquet", "--id-column", "id")
    assert report["figures"]["accuracy"]["value"] == pytest.approx(2 / 3)


def test_a_value_may_stand_for_no_label(tmp_path: Path, tiny_checkpoint: Path) -> None:
    truth = pa.array([LAW, "unlabelled", LAW, None, " "])
    predictions = single(tmp_path / "out", [0, 1, 2, 0, 1], kept={"truth": truth})
    coverage = call(tmp_path, predictions, "--label-column", "truth", "--missing-label", "unlabelled")["coverage"]
    assert (coverage["evaluated"], coverage["labels"], coverage["without_label"]) == (2, 2, 3)
    write_corpus(tmp_path / "corpus.parquet", 3)
    table = pq.read_table(tmp_path / "corpus.parquet").append_column("label", pa.array([LAW, "unlabelled", OTHER]))
    pq.write_table(table, tmp_path / "corpus.parquet")
    of_corpus = ("--model", tiny_checkpoint, "--corpus", tmp_path / "corpus.parquet", "--missing-label", "unlabelled")
    coverage = call(tmp_path, *of_corpus)["coverage"]
    assert (coverage["evaluated"], coverage["without_label"], coverage["unknown_label"]) == (2, 1, 0)


def test_against_other_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = {"truth": pa.array([LAW, NETWORK, OTHER, LAW, NETWORK, OTHER])}
    first = single(tmp_path / "first", [0, 1, 2, 0, 1, 0], kept=truth)
    second = single(tmp_path / "second", [0, 2, 0, 1, 1])
    # The other model has its labels in another order.
    for part in second.glob("part-*.parquet"):
        table = pq.read_table(part)
        columns = table.column("scores").combine_chunks().flatten()
        turned = pa.StructArray.from_arrays(columns[::-1], names=list(LABELS[::-1]))
        pq.write_table(table.set_column(3, "scores", turned), part)
    comparison = call(tmp_path, first, "--label-column", "truth", "--against", second)["comparison"]
    assert comparison["documents"] == 5
    assert (comparison["only_first_right"], comparison["only_second_right"]) == (3, 0)
    assert comparison["p_value"] == 0.25
    assert comparison["differences"]["accuracy"]["value"] == pytest.approx(3 / 5)
    told = capsys.readouterr()
    assert "1 documents are not in" in told.err
    assert "McNemar's exact test: 3 documents are right only here, 0 only there; p = 0.25." in told.out


def test_what_is_compared_with_must_be_predictions(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = single(tmp_path / "first", [0, 1, 2], kept={"truth": pa.array([LAW, NETWORK, OTHER])})
    arguments = (first, "--label-column", "truth", "--against")
    part = first / "part-00000000.parquet"
    assert f"--against {part} is a file: give the output folder of classify, or of train" in fails(
        capsys, *arguments, part
    )
    assert "is a model: give the output folder of classify" in fails(capsys, *arguments, tiny_checkpoint)
    assert "nope holds no predictions: give the output" in fails(capsys, *arguments, tmp_path / "nope")
    store = tmp_path / "store"
    store.mkdir()
    pq.write_table(pa.table({"doc_id": ["d0"], "chunk_vectors": [[[0.5]]]}), store / "part-00000000.parquet")
    assert "store is a store of embeddings and has no predictions" in fails(capsys, *arguments, store)
    assert "store is a store of embeddings and has no predictions" in fails(capsys, store, "--label-column", "truth")


def test_multi_label_predictions(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.6, 0.1], [0.2, 0.7, 0.3], [0.1, 0.2, 0.3], [0.9, 0.1, 0.8]])
    given = [[LAW, NETWORK], [NETWORK], [], [LAW, OTHER]]
    predictions = write_predictions(tmp_path / "out", list("abcd"), scores, given)
    labels = [[LAW, NETWORK], [LAW, NETWORK], [], ["shipping"]]
    pq.write_table(pa.table({"id": list("abcd"), "label": labels}), tmp_path / "labels.parquet")
    report = call(tmp_path, predictions, "--labels", tmp_path / "labels.parquet", "--id-column", "id")
    assert report["coverage"]["unknown_labels"] == {"shipping": 1}
    assert report["figures"]["subset_accuracy"]["value"] == pytest.approx(2 / 3)
    assert [row["f1"] for row in report["per_label"]] == pytest.approx([2 / 3, 1, 0])
    assert report["confusion"] is None


def test_regression_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([[1.0], [2.0], [3.0]])
    predictions = write_predictions(tmp_path / "out", list("abc"), values, [None] * 3)
    (tmp_path / "labels.csv").write_text("id,label\na,1.5\nb,2\nc,2.5\n")
    report = call(tmp_path, predictions, "--labels", tmp_path / "labels.csv", "--id-column", "id")
    assert report["figures"]["mae"]["value"] == pytest.approx(1 / 3)
    assert report["accuracy_of_all_labelled"] is None
    (tmp_path / "labels.csv").write_text("id,label\na,1.5\nb,\nc,-1\n")
    by_id = ("--labels", tmp_path / "labels.csv", "--id-column", "id")
    coverage = call(tmp_path, predictions, *by_id, "--missing-label", "-1")["coverage"]
    assert (coverage["evaluated"], coverage["labels"], coverage["without_label"]) == (1, 1, 2)
    (tmp_path / "labels.csv").write_text("id,label\na,high\n")
    assert "must be numbers" in fails(capsys, predictions, "--labels", tmp_path / "labels.csv", "--id-column", "id")


def test_a_checkpoint_and_a_corpus_give_what_the_pipeline_gives(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "corpus.parquet", 12)
    table = pq.read_table(tmp_path / "corpus.parquet")
    predicted = Pipeline(tiny_checkpoint, device="cpu", dtype="float32")(table.column("text").to_pylist())
    truth = [prediction.label for prediction in predicted]
    wrong = LAW if truth[0] != LAW else NETWORK
    texts = [*table.column("text").to_pylist()[:-1], ""]
    labelled = pa.table({"doc_id": table.column("doc_id"), "text": texts, "label": [wrong, *truth[1:]]})
    pq.write_table(labelled, tmp_path / "corpus.parquet")
    report = call(tmp_path, "--model", tiny_checkpoint, "--corpus", tmp_path / "corpus.parquet", "--dtype", "float32")
    assert (report["coverage"]["evaluated"], report["coverage"]["quarantined"]) == (11, 1)
    assert report["figures"]["accuracy"]["value"] == pytest.approx(10 / 11)
    losses = [-np.log(one.scores[name]) for one, name in zip(predicted, [wrong, *truth[1:]], strict=True)][:-1]
    assert report["figures"]["log_loss"]["value"] == pytest.approx(np.mean(losses), rel=1e-3)


def test_calibration_is_stored_in_the_checkpoint_and_classify_uses_it(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, model)
    before = json.loads((model / "config.json").read_text())
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(600, 3))
    probabilities = LabelSpace(LABELS, "single_label_classification").scores(logits)
    truth = np.minimum((generator.random((600, 1)) > probabilities.cumsum(axis=1)).sum(axis=1), 2)
    sharp = LabelSpace(LABELS, "single_label_classification").scores(4 * logits)
    ids = [f"d{index}" for index in range(600)]
    given = [LABELS[index] for index in sharp.argmax(axis=1)]
    kept = {"truth": pa.array([LABELS[index] for index in truth])}
    predictions = write_predictions(tmp_path / "out", ids, sharp, given, kept, model=fingerprint(model))
    arguments = (predictions, "--label-column", "truth", "--calibrate", "--model", model)
    found = call(tmp_path, *arguments)["calibration"]
    assert found["temperature"] == pytest.approx(4, rel=0.25)
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert found["after"]["expected_calibration_error"] < found["before"]["expected_calibration_error"]
    after = json.loads((model / "config.json").read_text())
    assert after == before | {"temperature": found["temperature"], "thresholds": None}
    assert {file.name for file in model.iterdir()} == {file.name for file in tiny_checkpoint.iterdir()}
    cold, warm = (
        Pipeline(folder, device="cpu", dtype="float32")("court law the tax") for folder in (tiny_checkpoint, model)
    )
    assert cold.label == warm.label
    ratio = np.log(cold.scores[LAW] / cold.scores[OTHER]) / np.log(warm.scores[LAW] / warm.scores[OTHER])
    assert ratio == pytest.approx(found["temperature"], rel=1e-3)
    # These predictions are those of the model before: another fit on top of them would count them twice.
    assert "was not made by" in fails(capsys, *arguments)
    # Predictions of the calibrated model: what is fitted comes on top of the temperature that it has.
    shutil.rmtree(predictions)
    scores = LabelSpace(LABELS, "single_label_classification").scores(2 * logits)
    write_predictions(predictions, ids, scores, given, kept, model=fingerprint(model))
    again = call(tmp_path, *arguments)["calibration"]
    assert again["temperature"] == pytest.approx(found["temperature"] * 2, rel=0.25)


def test_calibration_of_a_multi_label_model_has_thresholds(tmp_path: Path) -> None:
    model = save_tiny_checkpoint(tmp_path / "model", problem_type="multi_label_classification")
    generator = np.random.default_rng(0)
    scores = generator.random((300, 3))
    truth = generator.random((300, 3)) < scores * 0.5
    given = [[name for name, score in zip(LABELS, row, strict=True) if score >= 0.5] for row in scores]
    kept = {
        "truth": pa.array([[name for name, true in zip(LABELS, row, strict=True) if true] for row in truth.tolist()])
    }
    ids = [str(index) for index in range(300)]
    predictions = write_predictions(tmp_path / "out", ids, scores, given, kept, model=fingerprint(model))
    found = call(tmp_path, predictions, "--label-column", "truth", "--calibrate", "--model", model)["calibration"]
    assert found["after"]["f1_macro"] > found["before"]["f1_macro"]
    config = StrideformerConfig.from_pretrained(model)
    assert config.thresholds == found["thresholds"]
    assert config.temperature == found["temperature"]


def test_a_multi_label_model_of_one_label_is_scored_by_that_label(tmp_path: Path) -> None:
    one = {"id2label": {0: LAW}, "label2id": {LAW: 0}, "num_labels": 1}
    model = save_tiny_checkpoint(tmp_path / "model", problem_type="multi_label_classification", **one)
    generator = np.random.default_rng(0)
    scores = generator.random((200, 1))
    truth = (generator.random((200, 1)) < scores * 0.5)[:, 0]
    given = [[LAW] if score >= 0.5 else [] for score in scores[:, 0]]
    kept = {"truth": pa.array([[LAW] if true else [] for true in truth])}
    ids = [str(index) for index in range(200)]
    predictions = write_predictions(tmp_path / "out", ids, scores, given, kept, model=fingerprint(model))
    report = call(tmp_path, predictions, "--label-column", "truth", "--calibrate", "--model", model)
    rightly = (truth & (scores[:, 0] >= 0.5)).sum()
    f1 = 2 * rightly / (truth.sum() + (scores[:, 0] >= 0.5).sum())
    assert report["figures"]["f1_macro"]["value"] == pytest.approx(f1)
    assert report["calibration"]["before"]["f1_macro"] == pytest.approx(f1)
    assert report["per_label"][0]["support"] == truth.sum()


def test_wrong_calls_are_told_in_a_sentence(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = single(tmp_path / "out", [0, 1, 2])
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nd0,law\nd0,other\n")
    by_id = ("--labels", labels, "--id-column", "id")
    assert "1 ids stand more than once" in fails(capsys, predictions, *by_id)
    assert "'d0': leave one row for each id" in fails(capsys, predictions, *by_id)
    labels.write_text("id,label\nd0,law\n")
    table = pq.read_table(predictions / "part-00000000.parquet")
    twice = shutil.copytree(predictions, tmp_path / "twice")
    pq.write_table(pa.concat_tables([table, table]), twice / "part-00000000.parquet")
    told = fails(capsys, twice, *by_id)
    assert "2 ids stand more than once in " in told
    assert "'d0': label or embed its documents again without --id-column, so that each has an id of its own" in told
    labels.write_text("id,label\nx0,law\n")
    assert "no id of the labels (such as 'x0')" in fails(capsys, predictions, *by_id)
    labels.write_text("id,label\nd0,shipping\n")
    assert "the model has none of the true labels (shipping)" in fails(capsys, predictions, *by_id)
    assert "has no column 'topic'" in fails(capsys, predictions, *by_id, "--label-column", "topic")
    assert "classify's own" in fails(capsys, predictions, "--label-column", "label")
    assert "have no column 'truth'" in fails(capsys, predictions, "--label-column", "truth")
    assert "holds no part-*.parquet" in fails(capsys, tmp_path, *by_id)
    assert "give --labels" in fails(capsys, predictions)
    assert "and not both" in fails(capsys, *by_id)
    assert "give it with --model" in fails(capsys, predictions, *by_id, "--calibrate")
    assert "no folder with a config.json" in fails(capsys, predictions, *by_id, "--calibrate", "--model", "hub/id")
    assert "ascending" in fails(capsys, predictions, *by_id, "--length-buckets", "600,300")
    labels.write_text("id,label\nd0,law\nd1,law\n")
    before = (tiny_checkpoint / "config.json").read_bytes()
    assert "was not made by" in fails(capsys, predictions, *by_id, "--calibrate", "--model", tiny_checkpoint)
    assert (tiny_checkpoint / "config.json").read_bytes() == before
    (tmp_path / "there.json").write_text("mine")
    assert "exists: choose another" in fails(capsys, predictions, *by_id, "--json", tmp_path / "there.json")
    assert (tmp_path / "there.json").read_text() == "mine"


def test_a_corpus_whose_labels_the_model_does_not_have_is_refused_before_it_runs(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus.parquet", 4)
    arguments = ("--model", tiny_checkpoint, "--corpus", tmp_path / "corpus.parquet", "--label-column", "topic")
    assert "the model has none of the true labels (0, 1, 2, 3)" in fails(capsys, *arguments)


def test_a_corpus_of_which_all_is_quarantined_is_refused(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"text": ["", " "], "label": [LAW, OTHER]}), tmp_path / "corpus.parquet")
    told = fails(capsys, "--model", tiny_checkpoint, "--corpus", tmp_path / "corpus.parquet")
    assert "no document of" in told
    assert "all 2 were quarantined" in told


def test_flags_are_frozen() -> None:
    """A flag that is renamed or removed breaks somebody's scripts: change this list knowingly."""
    assert sorted(EvaluateSettings.model_fields) == sorted(
        "predictions labels label_column missing_label id_column format corpus embeddings text_column pair_column "
        "model device dtype against calibrate length_buckets resamples seed json_file overwrite storage_option".split()
    )
    assert all(field.description for field in EvaluateSettings.model_fields.values())


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file")
    arguments = ["nowhere", "--label-column", "truth", "--overwrite", "--json"]
    assert "is a folder: give the name of a file" in fails(capsys, *arguments, tmp_path)
    assert "is a file, or lies below one: choose another folder" in fails(capsys, *arguments, tmp_path / "file" / "b")


def test_a_part_of_the_predictions_is_not_taken_for_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = single(tmp_path / "out", [0, 1])
    part = next(folder.glob("part-*.parquet"))
    assert "is a file, or lies below one: give a folder" in fails(capsys, part, "--label-column", "truth")
