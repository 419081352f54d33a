from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from jobs.training.named_datasets import read_named
from strideformer.errors import StrideformerError


def write_health_fact(folder: Path) -> None:
    """Files of the schema of the hub's, in which rows without a label are -1."""
    classes = datasets.ClassLabel(names=["false", "mixture", "true", "unproven"])
    features = datasets.Features(
        {"claim": datasets.Value("string"), "main_text": datasets.Value("string"), "label": classes}
    )
    rows = {
        "claim": ["a", "b", "c", "d", "e"],
        "main_text": ["one", "two", "three", "", "five"],
        "label": [0, 2, -1, 1, 3],
    }
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{split}.parquet")


def test_health_fact_is_pairs_without_unlabelled_rows(tmp_path: Path) -> None:
    write_health_fact(tmp_path)
    training, validation = read_named("health_fact", str(tmp_path))
    assert training.texts() == (["a", "b", "e"], ["one", "two", "five"])
    assert training.labels.to_pylist() == ["false", "true", "unproven"]
    assert training.dropped == {"missing_label": 1, "empty_text": 1}
    assert validation.table.column("doc_id").to_pylist()[2] == "health_fact/validation#4"


def test_arxiv_labels_are_named_where_the_files_have_numbers_alone(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = {"text": ["x", "y"], "label": [0, 10]}
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    training, _ = read_named("arxiv-classification", str(tmp_path))
    assert training.labels.to_pylist() == ["math.AC", "math.ST"]


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_a_folder_may_hold_text_formats(tmp_path: Path, extension: str) -> None:
    rows = {"claim": ["a", "b", "c"], "main_text": ["one", "two", "three"], "label": [3, -1, 0]}
    for split in ("train", "validation"):
        dataset = datasets.Dataset.from_dict(rows)
        file = tmp_path / f"{split}.{extension}"
        dataset.to_csv(file) if extension == "csv" else dataset.to_json(file)
    training, _ = read_named("health_fact", str(tmp_path))
    assert training.labels.to_pylist() == ["unproven", "false"]


def test_an_empty_cell_is_no_label_and_a_name_no_number(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("claim,main_text,label\na,one,2\nb,two,\nc,three,0\n")
    training, _ = read_named("health_fact", str(tmp_path))
    assert training.labels.to_pylist() == ["true", "false"]
    assert training.dropped == {"missing_label": 1}
    for labels in ("yes\nb,two,no", "1.5\nb,two,0"):
        (tmp_path / "train.csv").write_text(f"claim,main_text,label\na,one,{labels}\n")
        with pytest.raises(StrideformerError, match=r"health_fact/train: column 'label' holds .* no whole numbers"):
            read_named("health_fact", str(tmp_path))


def test_a_data_set_that_is_not_to_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match=r"health_fact cannot be read from .*--dataset-path"):
        read_named("health_fact", str(tmp_path))
    datasets.Dataset.from_dict({"claim": ["x"], "label": [0]}).to_parquet(tmp_path / "train.parquet")
    datasets.Dataset.from_dict({"claim": ["x"], "label": [0]}).to_parquet(tmp_path / "validation.parquet")
    with pytest.raises(StrideformerError, match="health_fact/train has no column 'main_text'"):
        read_named("health_fact", str(tmp_path))
