"""The columns that a job takes from its input, and their conversion to the types of a shard's table.

The good path is one cast of a whole column; only a column that does not cast is looked at row by row, so that
the rows at fault are named and the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DETAIL_LENGTH = 200  # characters of a parser's words, which may quote the document
_FIRST_CHARACTERS = 64


@dataclass(frozen=True)
class InputColumns:
    """Names of the input's columns. ``pair`` is the second text, ``id`` the document's own id.

    ``text`` is None where only ids and kept columns are wanted, as of a file of labels.
    """

    text: str | None = "text"
    pair: str | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every column to read, once."""
        return tuple(dict.fromkeys(n for n in (self.text, self.pair, self.id, *self.keep) if n is not None))


@dataclass
class BadRows:
    """Rows that cannot be labelled: row → (reason, detail). The first reason found for a row stays."""

    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, row: int, reason: str, detail: str) -> None:
        self.found.setdefault(row, (reason, detail[:DETAIL_LENGTH]))

    def add_where(self, mask: pa.Array, reason: str, detail: str) -> None:
        """``mask``: boolean, null counts as false."""
        for row in pc.indices_nonzero(mask).to_pylist():
            self.add(row, reason, detail)

    def shifted(self, rows: int) -> dict[int, tuple[str, str]]:
        return {row + rows: reason for row, reason in self.found.items()}


@dataclass
class RawRows:
    """Rows as a format's parser gave them: the needed columns, in whatever types, and the rows it refused."""

    table: pa.Table
    bad: BadRows = field(default_factory=BadRows)


def is_textual(kind: pa.DataType) -> bool:
    """True for types that may hold text: strings, binary, dictionaries of them, and null."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_string(kind) or _is_binary(kind) or bool(pa.types.is_null(kind))


def is_uuid(kind: pa.DataType) -> bool:
    """True for Parquet's UUID, which Arrow has as an extension type over 16 bytes."""
    return isinstance(kind, pa.UuidType)


def kept_type(kind: pa.DataType) -> pa.DataType:
    """The output's type for a kept column: plain where the input's is an encoding of the same values."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def to_text(column: pa.ChunkedArray, name: str, bad: BadRows) -> pa.Array:
    """Any column → large_string. Rows without usable text are added to ``bad``; they may keep their text."""
    column = _plain(column)
    if not is_textual(column.type):
        bad.add_where(column.is_valid().combine_chunks(), "not_a_string", f"column {name!r} holds {column.type}")
        bad.add_where(column.is_null().combine_chunks(), "null_text", f"column {name!r} is null")
        return pa.nulls(len(column), pa.large_string())
    text = _decode(column, name, "undecodable_text", bad)
    bad.add_where(text.is_null(), "null_text", f"column {name!r} is null")
    bad.add_where(_is_blank(text), "empty_text", f"column {name!r} is empty or only white space")
    return text


def to_ids(column: pa.ChunkedArray, default: pa.Array, name: str, bad: BadRows) -> pa.Array:
    """Any column → string; ``default`` where it is null or empty. An id that is no single value is bad."""
    column = _plain(column)
    kind = column.type
    if is_uuid(kind):
        ids = _uuids(_one(column))
    elif pa.types.is_fixed_size_binary(kind):
        ids = _text_or_digits(_one(column))
    elif is_textual(kind):
        ids = _decode(column, name, "bad_column", bad).cast(pa.string())
    else:
        ids = to_kept(column, pa.field(name, pa.string()), bad)
    return pc.if_else(pc.fill_null(pc.not_equal(ids, ""), False), ids, default)


def to_kept(column: pa.ChunkedArray, field_: pa.Field, bad: BadRows) -> pa.Array:
    """Cast to the output's type; a value that does not cast becomes null and its row bad."""
    column = _plain(column)
    if column.type == field_.type and not _is_string(field_.type):
        return _one(column)
    if _is_string(field_.type) and is_textual(column.type):
        return _decode(column, field_.name, "bad_column", bad).cast(field_.type)
    try:
        return _one(column.cast(field_.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        values = [cast_value(scalar, field_, row, bad) for row, scalar in enumerate(column)]
        return pa.array(values, field_.type)


def cast_value(value: Any, field_: pa.Field, row: int, bad: BadRows) -> Any:
    """One Python value or Arrow scalar → a Python value of the field's type, or None and a bad row."""
    try:
        # not pa.scalar(value, type), which makes 1 of 1.5
        return (value if isinstance(value, pa.Scalar) else pa.scalar(value)).cast(field_.type).as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        bad.add(row, "bad_column", f"column {field_.name!r} is no {field_.type}: {brief(error)}")
        return None


def brief(error: BaseException) -> str:
    """A parser's words: one line, and short, since they may quote the document."""
    return " ".join(str(error).split())[:120]


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _one(column: pa.ChunkedArray) -> pa.Array:
    """One array. ``combine_chunks`` would give several past 2 GiB, which a bounded shard does not reach."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _decode(column: pa.ChunkedArray, name: str, reason: str, bad: BadRows) -> pa.Array:
    """Strings and bytes → large_string. Only the cast from binary checks that it is UTF-8."""
    data = _one(column.cast(pa.large_binary()))
    try:
        return data.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for row, value in enumerate(data.to_pylist()):
            try:
                texts.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError as error:
                texts.append(None)
                bad.add(row, reason, f"column {name!r} is not UTF-8: {error.reason} at byte {error.start}")
        return pa.array(texts, pa.large_string())


def _text_or_digits(ids: pa.Array) -> pa.Array:
    """Bytes of a fixed number as string: text as it is, and digests, which are none, in hexadecimal digits."""
    try:
        return ids.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if value is None else _text_of(value) for value in ids.to_pylist()], pa.string())


def _text_of(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.hex()


def _uuids(ids: pa.Array) -> pa.Array:
    """UUIDs in their usual form, 8-4-4-4-12 hexadecimal digits, as string."""
    storage = ids.storage
    values = np.frombuffer(storage.buffers()[1], np.uint8)[16 * storage.offset : 16 * (storage.offset + len(storage))]
    digits = np.stack([values >> 4, values & 15], axis=-1).reshape(len(storage), 32)
    text = np.full((len(storage), 36), ord("-"), np.uint8)
    text[:, np.delete(np.arange(36), [8, 13, 18, 23])] = np.frombuffer(b"0123456789abcdef", np.uint8)[digits]
    offsets = pa.py_buffer(np.arange(0, 36 * len(storage) + 1, 36, dtype=np.int32))
    whole = pa.Array.from_buffers(pa.string(), len(storage), [None, offsets, pa.py_buffer(text)])
    return pc.if_else(storage.is_valid(), whole, pa.scalar(None, pa.string()))


def _is_blank(text: pa.Array) -> pa.Array:
    """True where there is only white space. Only texts that begin with much of it are looked at whole."""
    start = pc.utf8_slice_codeunits(text, 0, _FIRST_CHARACTERS)
    suspects = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(start), ""), False)
    if not pc.any(suspects).as_py():
        return suspects
    whole = pc.utf8_trim_whitespace(pc.if_else(suspects, text, pa.scalar("x", pa.large_string())))
    return pc.fill_null(pc.equal(whole, ""), False)
