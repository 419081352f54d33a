"""A column of labels: what kind of problem it poses, which classes it has, and its labels as one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from strideformer.errors import StrideformerError

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
PROBLEM_TYPES = {"single-label": SINGLE, "multi-label": MULTI, "regression": REGRESSION}

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class LabelEncoding:
    """How labels become numbers; made from the training labels and used for every split.

    Attributes:
        problem_type: as transformers names it.
        names: the classes in the order of the logits: whole numbers by size, strings by code point. Of a regression
            the names of its values, ``value`` or ``value_0``, ``value_1``, …
        checkpoint: whose labels they are, where a run goes on from one.
    """

    problem_type: str
    names: tuple[str, ...]
    checkpoint: str | None = None

    @classmethod
    def of(cls, column: pa.ChunkedArray, problem_type: str | None = None) -> LabelEncoding:
        """From the training labels.

        Args:
            column: no null in it.
            problem_type: as of ``choose_problem_type``.

        Raises:
            StrideformerError: as ``choose_problem_type``, or there are fewer than two classes, of several each none.
        """
        kind = choose_problem_type(column, problem_type)
        if kind == REGRESSION:
            width = _rows_of_numbers(column).shape[1]
            return cls(kind, ("value",) if width == 1 else tuple(f"value_{index}" for index in range(width)))
        classes = pc.unique(_classes(column))
        names = classes.take(pc.sort_indices(classes)).cast(pa.string()).to_pylist()
        if len(names) < 2 and kind == SINGLE:
            raise StrideformerError(f"all training documents have the label {names[0]!r}: training needs two classes")
        if not names:
            raise StrideformerError(
                "no training document has a label, since every list is empty: name another column with --label-column"
            )
        return cls(kind, tuple(names))

    def encode(self, column: pa.ChunkedArray) -> Tensor:
        """Labels as numbers.

        Returns:
            (documents,) int64 classes; (documents, num_labels) float32 of 0 and 1 for several classes each, of the
            values for a regression.

        Raises:
            StrideformerError: there are labels that training, or the checkpoint, has not.
        """
        _refuse_type(column, self.problem_type)
        if self.problem_type == REGRESSION:
            values = _rows_of_numbers(column)
            if values.shape[1] != len(self.names):
                where = self.checkpoint or "training"
                raise StrideformerError(f"labels have {values.shape[1]} values where {where} has {len(self.names)}")
            return torch.from_numpy(values)
        flat = _classes(column).cast(pa.string())
        index = pc.index_in(flat, value_set=pa.array(self.names, pa.string()))
        if index.null_count:
            unseen = sorted(set(pc.unique(flat.filter(index.is_null())).to_pylist()))
            said = f"{', '.join(unseen[:10])}{', …' if len(unseen) > 10 else ''} ({index.null_count} times)"
            if self.checkpoint is not None:
                raise StrideformerError(
                    f"there are labels that {self.checkpoint} has not: {said}: leave those documents out, or train "
                    f"anew with --encoder in place of --start-from"
                )
            raise StrideformerError(
                f"validation has labels that training has not: {said}: leave those documents out, or train on some of "
                f"them"
            )
        classes = index.to_numpy(zero_copy_only=False).astype(np.int64)
        if self.problem_type == SINGLE:
            return torch.from_numpy(classes)
        rows = np.repeat(np.arange(len(column)), pc.list_value_length(column).to_numpy(zero_copy_only=False))
        several = np.zeros((len(column), len(self.names)), np.float32)
        several[rows, classes] = 1
        return torch.from_numpy(several)

    def kind(self) -> str:
        """What the labels are, for a person."""
        if self.problem_type == REGRESSION:
            return "a number for each document" if len(self.names) == 1 else f"{len(self.names)} numbers for each"
        return f"{'one' if self.problem_type == SINGLE else 'any'} of {len(self.names)} classes for each document"

    def counts(self, labels: Tensor) -> dict[str, int]:
        """How many documents have each class; of a regression nothing."""
        if self.problem_type == REGRESSION:
            return {}
        if self.problem_type == SINGLE:
            numbers = torch.bincount(labels, minlength=len(self.names))
        else:
            numbers = labels.sum(dim=0).long()
        return dict(zip(self.names, numbers.tolist(), strict=True))


def balanced_weights(encoding: LabelEncoding, labels: Tensor) -> list[float]:
    """For each class the square root of how much rarer it is than others, which is kinder to noise than the ratio.

    Args:
        encoding: of the labels.
        labels: of the training documents, encoded.

    Raises:
        StrideformerError: a regression has no classes.
    """
    if encoding.problem_type == REGRESSION:
        raise StrideformerError("class_weights=balanced is for classes, and this is a regression: leave it out")
    counts = np.array(list(encoding.counts(labels).values()), np.float64).clip(min=1)  # a checkpoint's may be missing
    number = len(labels)
    ratio = number / (len(counts) * counts) if encoding.problem_type == SINGLE else (number - counts) / counts
    return [float(weight) for weight in np.sqrt(np.maximum(ratio, 1e-3))]


def choose_problem_type(column: pa.ChunkedArray, problem_type: str | None = None) -> str:
    """The problem that training labels pose.

    Args:
        column: no null in it.
        problem_type: None goes by the column's type: strings, booleans and whole numbers are classes, a list of them
            is several classes each, a number with a fraction or a list of such is a regression.

    Raises:
        StrideformerError: the labels do not suit, or leave open what they are.
    """
    kind = problem_type
    if kind is None:
        _refuse_numbers_in_strings(column)
        _refuse_whole_floats(column)
        inner = column.type.value_type if _is_list(column.type) else column.type
        kind = MULTI if _is_list(column.type) else SINGLE
        if _has_fractions(inner):
            kind = REGRESSION
    _refuse_type(column, kind)
    return kind


def has_label(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Boolean, without null: false for a null, an empty string, a number that is none, or a list with such in it.

    An empty list is a label: of none of the classes.
    """
    kind = column.type
    if _is_list(kind):
        parents = pc.list_parent_indices(column)
        flat = pc.list_flatten(column)
        wrong = pc.unique(parents.filter(pc.invert(has_label(flat))))
        rows = pa.chunked_array([pa.array(np.arange(len(column)))])
        return pc.and_(column.is_valid(), pc.invert(pc.is_in(rows, value_set=wrong.cast(pa.int64()))))
    usable = column.is_valid()
    if pa.types.is_floating(kind):
        usable = pc.and_(usable, pc.fill_null(pc.is_finite(column), False))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        usable = pc.and_(usable, pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False))
    return usable


def _refuse_numbers_in_strings(column: pa.ChunkedArray) -> None:
    """Numbers with a fraction, as CSV files have them, would each be a class of its own without a word.

    Raises:
        StrideformerError: every label is such a string, or a whole number beside such.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return
    strings = pc.utf8_trim_whitespace(pc.unique(column))
    if not pc.all(pc.match_substring_regex(strings, NUMBER)).as_py():
        return
    fractions = strings.filter(pc.match_substring_regex(strings, "[.eE]"))
    if len(fractions):
        raise StrideformerError(
            f"the labels are strings that are numbers, such as {fractions[0].as_py()!r}: say what they are with "
            f"--problem-type, single-label or regression"
        )


def _refuse_whole_floats(column: pa.ChunkedArray) -> None:
    """Whole numbers of which one is missing, as pandas leaves them, would be values to learn without a word.

    So would those of a database, which are decimals.

    Raises:
        StrideformerError: every label is such a number.
    """
    if _are_whole_floats(column):
        kind = "floats" if pa.types.is_floating(column.type) else "decimals"
        raise StrideformerError(
            f"the labels are {kind} that are all whole, such as {column[0].as_py()}: say what they are with "
            f"--problem-type, single-label or regression"
        )


def _has_fractions(kind: pa.DataType) -> bool:
    """Whether numbers of a type may have a fraction."""
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _are_whole_floats(column: pa.ChunkedArray) -> bool:
    if not _has_fractions(column.type):
        return False
    try:
        column.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _refuse_type(column: pa.ChunkedArray, problem_type: str) -> None:
    kind = column.type
    inner = kind.value_type if _is_list(kind) else kind
    types = pa.types
    textual = types.is_string(inner) or types.is_large_string(inner)
    whole = types.is_integer(inner)
    number = whole or _has_fractions(inner)
    suits = {
        SINGLE: not _is_list(kind) and (textual or whole or types.is_boolean(inner) or _are_whole_floats(column)),
        MULTI: _is_list(kind) and (textual or whole),
        REGRESSION: number or (textual and not _is_list(kind)),
    }
    if not suits[problem_type]:
        name = next(name for name, value in PROBLEM_TYPES.items() if value == problem_type)
        raise StrideformerError(
            f"the label column holds {kind}, which does not suit {name}: name another with --label-column, or say "
            f"what it is with --problem-type ({', '.join(PROBLEM_TYPES)})"
        )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_flatten(column) if _is_list(column.type) else column


def _classes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Every class that a label names; floats and decimals, whole here, as the whole numbers that they stand for."""
    flat = _flat(column)
    return flat.cast(pa.int64()) if _has_fractions(flat.type) else flat


def _rows_of_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """(documents, values) float32."""
    if _is_list(column.type):
        widths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(widths) != 1 or not widths[0]:
            raise StrideformerError(f"labels are lists of {sorted(widths)} numbers: give every document as many")
    try:
        numbers = _flat(column).cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise StrideformerError(f"a label is no number ({error}): leave those documents out") from error
    values = numbers.to_numpy().astype(np.float32)
    return np.asarray(values.reshape(len(column), -1))
