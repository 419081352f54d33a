from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData, load_data
from strideformer.errors import StrideformerError


def loaded(folder: Path, labels: pa.Array, **more: Any) -> TrainingData:
    texts = [f"text {index}" for index in range(len(labels))]
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "train.parquet")
    values = {"train": [str(folder / "train.parquet")], "validation": "0.5", "output": "o", "encoder": "e"}
    return load_data(TrainSettings.model_validate(values | more), seed=0)


@pytest.mark.parametrize(
    ("labels", "problem_type"), [(["a", "b"] * 4, "multi-label"), ([["a"], ["b"]] * 4, "single-label")]
)
def test_labels_that_do_not_suit_are_refused_before_they_are_divided(
    tmp_path: Path, labels: list[object], problem_type: str
) -> None:
    with pytest.raises(StrideformerError, match=f"which does not suit {problem_type}: name another"):
        loaded(tmp_path, pa.array(labels), problem_type=problem_type)


def test_whole_numbers_of_which_one_is_missing_are_classes_where_that_is_said(tmp_path: Path) -> None:
    """What pandas makes of them, and writes to Parquet, are floats."""
    labels = pa.array([0.0, 1.0, None, 1.0, 0.0])
    with pytest.raises(StrideformerError, match=r"floats that are all whole"):
        loaded(tmp_path, labels)
    data = loaded(tmp_path, labels, problem_type="single-label")
    assert data.encoding.names == ("0", "1")
    assert data.training.dropped == {"missing_label": 1}
    assert "  0: 1 in training, 1 in validation" in data.lines
    assert loaded(tmp_path, labels, problem_type="regression").encoding.names == ("value",)
