from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.training.labelled import LabelledColumns, LabelledDocuments, describe, read_labelled, split_off
from jobs.training.labels import MULTI, REGRESSION, SINGLE, LabelEncoding, balanced_weights
from strideformer.errors import StrideformerError


def column(values: list[object], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def documents(labels: list[object]) -> LabelledDocuments:
    ids = [str(i) for i in range(len(labels))]
    return LabelledDocuments(pa.table({"doc_id": ids, "_text": ids, "label": labels}), {})


@pytest.mark.parametrize(
    ("values", "problem_type", "names"),
    [
        (["b", "a", "b"], SINGLE, ("a", "b")),
        ([10, 9, 10], SINGLE, ("9", "10")),
        ([True, False], SINGLE, ("false", "true")),
        ([["x"], [], ["y", "x"]], MULTI, ("x", "y")),
        ([0.5, 2.0], REGRESSION, ("value",)),
        ([[0.5, 1.0], [2.0, 3.0]], REGRESSION, ("value_0", "value_1")),
    ],
)
def test_the_problem_is_told_from_the_type(values: list[object], problem_type: str, names: tuple[str, ...]) -> None:
    assert LabelEncoding.of(column(values)) == LabelEncoding(problem_type, names)


def test_labels_become_tensors() -> None:
    single = LabelEncoding.of(column([10, 9, 10]))
    assert single.encode(column([9, 10])).tolist() == [0, 1]
    several = LabelEncoding.of(column([["x"], [], ["y", "x"]]))
    assert several.encode(column([["y"], [], ["x", "y"]])).tolist() == [[0, 1], [0, 0], [1, 1]]
    assert several.counts(several.encode(column([["y"], [], ["x", "y"]]))) == {"x": 1, "y": 2}
    regression = LabelEncoding.of(column(["1", "2.5"]), REGRESSION)
    assert regression.encode(column(["4", "0.5"])).tolist() == [[4.0], [0.5]]
    assert LabelEncoding.of(column([1, 2, 3]), REGRESSION).problem_type == REGRESSION


def test_whole_numbers_that_are_floats_are_asked_about() -> None:
    """As pandas leaves whole numbers of which one is missing: classes as well as values may be so."""
    floats = column([10.0, 9.0, 10.0])
    with pytest.raises(StrideformerError, match=r"such as 10\.0: say .* --problem-type, single-label or regression"):
        LabelEncoding.of(floats)
    classes = LabelEncoding.of(floats, SINGLE)
    assert classes.names == ("9", "10")
    assert classes.encode(floats).tolist() == [1, 0, 1]
    assert LabelEncoding.of(column([9, 10])).encode(floats).tolist() == [1, 0, 1], "a null in validation alone"
    assert LabelEncoding.of(floats, REGRESSION).encode(floats).tolist() == [[10.0], [9.0], [10.0]]
    assert LabelEncoding.of(column([1.0, 2.5])).problem_type == REGRESSION
    with pytest.raises(StrideformerError, match="holds double, which does not suit single-label"):
        LabelEncoding.of(column([9, 10])).encode(column([9.0, 9.5]))


@pytest.mark.parametrize("kind", [pa.decimal128(10, 0), pa.decimal128(10, 2), pa.decimal256(50, 0)])
def test_whole_decimals_are_asked_about_as_floats_are(kind: pa.DataType) -> None:
    """As databases have whole numbers."""
    decimals = column([Decimal(10), Decimal(9), Decimal(10)], kind)
    with pytest.raises(StrideformerError, match=r"decimals that are all whole, .* single-label or regression"):
        LabelEncoding.of(decimals)
    classes = LabelEncoding.of(decimals, SINGLE)
    assert classes.names == ("9", "10")
    assert classes.encode(decimals).tolist() == [1, 0, 1]
    assert LabelEncoding.of(decimals, REGRESSION).encode(decimals).tolist() == [[10.0], [9.0], [10.0]]


def test_decimals_with_fractions_are_values() -> None:
    decimals = column([Decimal("1.25"), Decimal(2)], pa.decimal128(10, 2))
    assert LabelEncoding.of(decimals).encode(decimals).tolist() == [[1.25], [2.0]]
    lists = column([[Decimal("1.25")], [Decimal(2)]], pa.list_(pa.decimal128(10, 2)))
    assert LabelEncoding.of(lists).encode(lists).tolist() == [[1.25], [2.0]]


def test_what_cannot_be_a_label_is_refused() -> None:
    with pytest.raises(StrideformerError, match="does not suit single-label"):
        LabelEncoding.of(column([0.5]), SINGLE)
    with pytest.raises(StrideformerError, match="a label is no number"):
        LabelEncoding.of(column(["a"]), REGRESSION)
    with pytest.raises(StrideformerError, match=r"strings that are numbers, such as '2\.5': say what they are"):
        LabelEncoding.of(column(["1", "2.5", "-3"]))
    assert LabelEncoding.of(column(["1", "2.5"]), SINGLE).names == ("1", "2.5")
    assert LabelEncoding.of(column(["1", "2"])).problem_type == SINGLE
    assert LabelEncoding.of(column(["1.5", "v2"])).problem_type == SINGLE
    with pytest.raises(StrideformerError, match="needs two classes"):
        LabelEncoding.of(column(["a", "a"]))
    with pytest.raises(StrideformerError, match=r"no training document has a label, since every list is empty"):
        LabelEncoding.of(column([[], []], pa.list_(pa.string())))
    with pytest.raises(StrideformerError, match=r"lists of \[1, 2\] numbers"):
        LabelEncoding.of(column([[1.0], [1.0, 2.0]]))
    with pytest.raises(StrideformerError, match=r"labels that training has not: c \(2 times\)"):
        LabelEncoding.of(column(["a", "b"])).encode(column(["c", "a", "c"]))


def test_documents_without_text_or_label_are_left_out_and_counted(tmp_path: Path) -> None:
    table = {"text": ["a", None, "c", "d", "e"], "label": ["x", "x", None, " ", "y"]}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    found = read_labelled([str(tmp_path / "train.parquet")], LabelledColumns(), {})
    assert found.texts() == (["a", "e"], None)
    assert found.dropped == {"null_text": 1, "missing_label": 2}
    lines = describe(LabelEncoding.of(found.labels), found, found)
    assert lines[0] == "training: 2 documents; 3 left out (2 missing_label, 1 null_text)"
    assert lines[2] == "labels: one of 2 classes for each document"
    assert "  x: 1 in training, 1 in validation" in lines
    pq.write_table(pa.table({"text": ["a"], "label": pa.array([None], pa.string())}), tmp_path / "none.parquet")
    with pytest.raises(StrideformerError, match=r"no document of .* has both a text and a label: 1 missing_label"):
        read_labelled([str(tmp_path / "none.parquet")], LabelledColumns(), {})


def test_numbers_lists_and_pairs_are_read_from_json_lines(tmp_path: Path) -> None:
    rows = [
        {"claim": "c1", "body": "b1", "topics": ["x", "y"], "score": 1.5, "grade": 3},
        {"claim": "c2", "body": "b2", "topics": [], "score": None, "grade": -1},
        {"claim": "c3", "body": "b3", "topics": None, "score": 2.0, "grade": 4},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    topics = read_labelled([str(file)], LabelledColumns("claim", "topics", "body"), {})
    assert topics.texts() == (["c1", "c2"], ["b1", "b2"])
    assert LabelEncoding.of(topics.labels).encode(topics.labels).tolist() == [[1, 1], [0, 0]]
    scores = read_labelled([str(file)], LabelledColumns("body", "score"), {})
    assert LabelEncoding.of(scores.labels).encode(scores.labels).tolist() == [[1.5], [2.0]]
    grades = read_labelled([str(file)], LabelledColumns("body", "grade", missing="-1"), {})
    assert grades.labels.to_pylist() == [3, 4]
    assert grades.dropped == {"missing_label": 1}


@pytest.mark.parametrize(("labels", "kind"), [(list("abcdefgh"), SINGLE), ([["a"], ["b"], ["c", "d"], ["e"]], MULTI)])
def test_ids_taken_for_labels_are_told(labels: list[object], kind: str) -> None:
    with pytest.raises(StrideformerError, match=r"each label has one document.*--label-column most likely names the"):
        split_off(documents(labels), 0.25, 0, kind)


def test_a_share_is_split_off_by_class_and_seed() -> None:
    labels = ["a"] * 50 + ["b"] * 10 + ["c"]
    training, validation = split_off(documents(labels), 0.2, 0, SINGLE)
    counted = [[part.labels.to_pylist().count(label) for label in "abc"] for part in (training, validation)]
    assert counted == [[40, 8, 1], [10, 2, 0]]
    ids = validation.table.column("doc_id").to_pylist()
    assert ids == split_off(documents(labels), 0.2, 0, SINGLE)[1].table.column("doc_id").to_pylist()
    assert ids != split_off(documents(labels), 0.2, 1, SINGLE)[1].table.column("doc_id").to_pylist()
    assert set(ids).isdisjoint(training.table.column("doc_id").to_pylist())
    values = np.random.default_rng(0).normal(size=30).tolist()
    assert len(split_off(documents(values), 0.1, 0, REGRESSION)[1]) == 3
    with pytest.raises(StrideformerError, match="leaves nothing"):
        split_off(documents(["a", "a", "b"]), 0.1, 0, SINGLE)


def test_a_share_of_documents_with_several_labels_is_split_off_by_the_rarest() -> None:
    """By chance alone a label of three documents would often be in validation and not in training."""
    labels: list[object] = [["text", "a"]] * 50 + [["text", "b"]] * 10 + [["text", "rare"]] * 3 + [["text", "once"], []]
    for seed in range(10):
        training, validation = split_off(documents(labels), 0.2, seed, MULTI)
        lists = [part.labels.to_pylist() for part in (training, validation)]
        counted = [[sum(label in row for row in part) for label in ("a", "b", "rare", "once")] for part in lists]
        assert counted == [[40, 8, 2, 1], [10, 2, 1, 0]]
        assert sum(map(len, lists)) == 65


@pytest.mark.parametrize(("size", "share", "expected"), [(5, 0.1, 250), (6, 0.1, 300), (1, 0.6, 0), (2, 0.29, 290)])
def test_a_share_of_many_small_classes_is_that_share(size: int, share: float, expected: int) -> None:
    """Class by class, 0.1 of five documents is none, and of six is one."""
    labels = [label for label in range(500) for _ in range(size)] + [500] * 100
    training, validation = split_off(documents(labels), share, 3, SINGLE)
    counted = np.bincount(validation.labels.to_numpy(), minlength=501)
    assert counted[:500].sum() == pytest.approx(expected, abs=1)
    assert counted[500] == pytest.approx(100 * share, abs=1)
    assert len(set(training.labels.to_pylist())) == 501


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_training_has_every_label_that_documents_have_several_of(share: float) -> None:
    """A label may have no document that it is the rarest of, and then nothing holds its documents in training."""
    generator = np.random.default_rng(0)
    names = [f"label{index}" for index in range(20)]
    for seed in range(30):
        lists = [generator.choice(names, size=generator.integers(4), replace=False).tolist() for _ in range(60)]
        training, validation = (part.labels.to_pylist() for part in split_off(documents(lists), share, seed, MULTI))
        assert {label for row in validation for label in row} <= {label for row in training for label in row}
        assert 60 * share - 20 <= len(validation) <= 60 * share + 1


def test_a_class_of_a_single_document_trains_whatever_the_share() -> None:
    training, validation = split_off(documents(["a"] * 9 + ["once"]), 0.9, 0, SINGLE)
    assert sorted(training.labels.to_pylist()) == ["a", "once"]
    assert len(validation) == 8


def test_a_missing_label_is_of_single_labels(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [["x"]]}), tmp_path / "train.parquet")
    with pytest.raises(StrideformerError, match="--missing-label -1 is for one label a document"):
        read_labelled([str(tmp_path / "train.parquet")], LabelledColumns(missing="-1"), {})


def test_rare_classes_weigh_more() -> None:
    single = LabelEncoding.of(column(["a"] * 8 + ["b"] * 2))
    weights = balanced_weights(single, single.encode(column(["a"] * 8 + ["b"] * 2)))
    assert weights == pytest.approx([(10 / 16) ** 0.5, (10 / 4) ** 0.5])
    several = LabelEncoding.of(column([["a"], ["a", "b"], ["a"], ["a"], []]))
    weights = balanced_weights(several, several.encode(column([["a"], ["a", "b"], ["a"], ["a"], []])))
    assert weights == pytest.approx([0.5, 2.0])
    with pytest.raises(StrideformerError, match="class_weights=balanced is for classes"):
        balanced_weights(LabelEncoding(REGRESSION, ("value",)), single.encode(column(["a"])))


def test_of_many_classes_the_most_and_the_least_frequent_are_told() -> None:
    labels: list[object] = [f"c{index:03d}" for index in range(200) for _ in range(1 + index % 7)]
    lines = describe(LabelEncoding.of(column(labels)), documents(labels), documents(labels[:50]))
    assert len(lines) == 3 + 51 + 1
    assert lines[3] == "  c006: 7 in training, 7 in validation"
    assert lines[28] == "  … 150 classes of fewer documents than these"
    assert lines[53] == "  c196: 1 in training, 0 in validation"
    assert lines[-1].startswith("no validation document has the label c014, c015, ")
    assert lines[-1].endswith(" and 176 others: its quality will not be known")
