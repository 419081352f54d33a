"""True labels as a column of any type to the numbers that metrics want, in the order of the predictions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from strideformer.errors import StrideformerError

UNKNOWN_NAMED = 20  # of the labels that the model does not have, the most frequent


@dataclass(frozen=True)
class Truth:
    """True labels of documents.

    Attributes:
        values: (documents,) int64 label numbers; (documents, num_labels) bool for multi-label; (documents, targets)
            float64 for regression; without meaning where not ``usable``.
        missing: (documents,) bool, there is no label.
        unknown: (documents,) bool, there is one that the model does not have.
        unknown_labels: these labels with how often they occur, most frequent first.
    """

    values: np.ndarray
    missing: np.ndarray
    unknown: np.ndarray
    unknown_labels: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> np.ndarray:
        """(documents,) bool."""
        return np.asarray(~(self.missing | self.unknown))


def read_truth(column: pa.Array, names: tuple[str, ...], problem_type: str, missing: str | None = None) -> Truth:
    """A label column as numbers.

    Args:
        column: (documents,) of strings or whole numbers for a single label; lists of them for multi-label, of which
            an empty one is no label at all; numbers, or lists with one number a target, for a regression. A blank
            string is a missing label, as null and NaN are, and a list with one of them in it.
        names: the labels of the model, or the targets of a regression.
        problem_type: as transformers names it.
        missing: a value that stands for no label, such as -1 in data sets of the hub.

    Raises:
        StrideformerError: the column is of a type that cannot hold such labels, or of lists while ``missing`` is given.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if missing is not None:
        column = _with_null_for(missing, column)
    if problem_type == "regression":
        return _numbers(column, len(names))
    if problem_type == "multi_label_classification":
        return _several(column, names)
    labels = _as_strings(column)
    numbers = pc.index_in(labels, pa.array(names, pa.string()))
    absent = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(labels), ""), True).to_numpy(zero_copy_only=False)
    unknown = numbers.is_null().to_numpy(zero_copy_only=False) & ~absent
    values = pc.fill_null(numbers, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Truth(values, absent, unknown, _most_frequent(labels.filter(pa.array(unknown))))


def _several(column: pa.Array, names: tuple[str, ...]) -> Truth:
    if not _is_list(column.type):
        raise StrideformerError(
            f"the true labels are {column.type}, but a multi-label model needs lists of strings: give such a column "
            f"with --label-column"
        )
    labels = _as_strings(pc.list_flatten(column))
    owners = pc.list_parent_indices(column).to_numpy()
    numbers = pc.index_in(labels, pa.array(names, pa.string()))
    known = numbers.is_valid().to_numpy(zero_copy_only=False)
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(labels), ""), True).to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), len(names)), bool)
    values[owners[known], numbers.drop_null().to_numpy()] = True
    missing = column.is_null().to_numpy(zero_copy_only=False).copy()
    missing[owners[blank]] = True  # a list with a hole in it, as in training
    unknown = np.zeros(len(column), bool)
    unknown[owners[~known & ~blank]] = True
    return Truth(values, missing, unknown & ~missing, _most_frequent(labels.filter(pa.array(~known & ~blank))))


def _numbers(column: pa.Array, targets: int) -> Truth:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    flat = column
    if _is_list(column.type):
        lengths = pc.list_value_length(column).fill_null(targets).to_numpy()
        if (lengths != targets).any():
            wrong = int(lengths[lengths != targets][0])
            raise StrideformerError(f"a true label has {wrong} numbers but the model has {targets} targets: give each")
        flat = pc.list_flatten(column)
    elif targets != 1:
        raise StrideformerError(
            f"the true labels are single numbers but the model has {targets} targets: give a column of lists"
        )
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
        flat = pc.if_else(pc.equal(pc.utf8_trim_whitespace(flat), ""), None, flat)
    try:
        numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise StrideformerError(
            f"the true labels of a regression must be numbers ({reason}): give such a column with --label-column"
        ) from error
    values = np.full((len(column), targets), np.nan)
    present = ~missing if _is_list(column.type) else np.ones(len(column), bool)
    values[present] = numbers.reshape(-1, targets)
    return Truth(values, missing | ~np.isfinite(values).all(axis=1), np.zeros(len(column), bool))


def _with_null_for(missing: str, column: pa.Array) -> pa.Array:
    if pa.types.is_nested(column.type):
        raise StrideformerError(
            f"--missing-label {missing} is for one label a document, and the true labels are {column.type}: leave it "
            f"out; null is a missing label"
        )
    return pc.if_else(pc.equal(column.cast(pa.string()), missing), None, column)


def _as_strings(labels: pa.Array) -> pa.Array:
    """Strings as they are, whole numbers as their digits; floats and decimals too if they are whole, as in training."""
    kind = labels.type
    try:
        if pa.types.is_floating(kind):
            labels = pc.if_else(pc.is_finite(labels), labels, None)  # NaN is no label, as in training
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            labels = labels.cast(pa.int64())
        elif _is_list(kind) or pa.types.is_struct(kind):
            raise pa.ArrowInvalid(f"they are {kind}")
        return labels.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise StrideformerError(
            f"the true labels must be strings or whole numbers ({reason}): give such a column with --label-column"
        ) from error


def _most_frequent(labels: pa.Array) -> dict[str, int]:
    counted = sorted(pc.value_counts(labels).to_pylist(), key=lambda each: (-each["counts"], str(each["values"])))
    return {str(each["values"]): int(each["counts"]) for each in counted[:UNKNOWN_NAMED]}


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
