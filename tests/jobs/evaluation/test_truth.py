from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluation.truth import read_truth
from jobs.training.labels import MULTI, REGRESSION, SINGLE
from strideformer.errors import StrideformerError


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1.5", "", None, " ", "2"]),
        pa.array(["1.5", "", None, " ", "2"], pa.large_string()),
        pa.array([["1.5"], [""], None, [" "], ["2"]]),
        pa.array(["1.5", "", None, " ", "2"]).dictionary_encode(),
    ],
    ids=["strings", "large strings", "lists", "dictionary"],
)
def test_blank_values_are_missing(column: pa.Array) -> None:
    """An empty cell of a CSV file with quotes is a string, and not null."""
    found = read_truth(column, ("value",), REGRESSION)
    assert found.missing.tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(found.values[found.usable], [[1.5], [2.0]])


def test_blank_labels_are_missing_as_in_training() -> None:
    found = read_truth(pa.array(["a", "", " ", None, "c"]), ("a", "b"), SINGLE)
    assert found.missing.tolist() == [False, True, True, True, False]
    assert found.unknown.tolist() == [False, False, False, False, True]


def test_no_number_is_no_label_as_in_training() -> None:
    found = read_truth(pa.array([1.0, float("nan"), 0.0]), ("0", "1"), SINGLE)
    assert found.missing.tolist() == [False, True, False]
    assert found.values[found.usable].tolist() == [1, 0]


def test_lists_with_a_hole_are_missing_as_in_training() -> None:
    found = read_truth(pa.array([["a"], ["a", None], ["a", " "], [], ["c", "a"], None, ["c", None]]), ("a", "b"), MULTI)
    assert found.missing.tolist() == [False, True, True, False, False, True, True]
    assert found.unknown.tolist() == [False, False, False, False, True, False, False]
    assert found.values[:, 0].tolist()[0] is True


def test_whole_decimals_are_labels_of_that_name() -> None:
    decimals = pa.array([Decimal(1), Decimal(0)], pa.decimal128(10, 2))
    assert read_truth(decimals, ("0", "1"), SINGLE).values.tolist() == [1, 0]
    with pytest.raises(StrideformerError, match="must be strings or whole numbers"):
        read_truth(pa.array([Decimal("1.5")]), ("0", "1"), SINGLE)


@pytest.mark.parametrize("values", [["0", "-1", "1"], [0, -1, 1], [0.0, -1.0, 1.0]])
@pytest.mark.parametrize("problem_type", [SINGLE, REGRESSION])
def test_a_value_may_stand_for_no_label(values: list[object], problem_type: str) -> None:
    names = ("0", "1") if problem_type == SINGLE else ("value",)
    found = read_truth(pa.array(values), names, problem_type, missing="-1")
    assert found.missing.tolist() == [False, True, False]
    assert found.values[found.usable].ravel().tolist() == [0, 1]


def test_a_missing_label_is_of_single_labels() -> None:
    with pytest.raises(StrideformerError, match="--missing-label none is for one label a document"):
        read_truth(pa.array([["a"]]), ("a",), MULTI, missing="none")
