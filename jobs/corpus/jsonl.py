"""JSON Lines: one object a line. pyarrow parses whole shards; what it refuses is parsed line by line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json

from jobs.corpus.columns import BadRows, InputColumns, RawRows, brief, cast_value
from jobs.corpus.records import record_bounds
from jobs.corpus.refusal import UNREADABLE_FILE, FileRefusedError

_SMALL_SAMPLE = 4096  # bytes


def _integer(digits: str) -> int:
    """ValueError for what is no 64-bit number."""
    value = int(digits)
    if not -(2**63) <= value < 2**63:
        raise ValueError(digits)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_KINDS = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(), type(None): pa.null()}
# Objects become tuples of pairs, so that a name given twice is seen.
_PLAIN = json.JSONDecoder(object_pairs_hook=tuple, parse_int=_integer, parse_constant=_refuse_constant)


def schema_of(sample: bytes, source: str) -> pa.Schema:
    """Names and types of the columns in a file's first lines.

    Strings that look like times stay strings: they are not ours to interpret.

    Raises:
        FileRefusedError: the file is one JSON array, or no line of the sample is an object.
    """
    if sample.lstrip().startswith(b"["):
        raise FileRefusedError(UNREADABLE_FILE, f"{source} is one JSON array, not JSON Lines: write one object a line")
    plain = _schema_of_plain(sample) if len(sample) <= _SMALL_SAMPLE else None
    if plain is not None:
        return plain
    try:
        options = pa.json.ReadOptions(use_threads=False, block_size=max(len(sample), 1))
        inferred = pa.json.read_json(pa.BufferReader(sample), read_options=options).schema
    except (pa.ArrowException, UnicodeDecodeError):  # the second is of a name that is no UTF-8
        inferred = _schema_of_objects(sample)
    if not len(inferred):
        raise FileRefusedError(UNREADABLE_FILE, f"{source} has no line that is a JSON object: it is no JSON Lines file")
    return pa.schema([(field.name, _without_times(field.type)) for field in inferred])


def _without_times(kind: pa.DataType) -> pa.DataType:
    """The type with strings in place of times, at any depth."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _without_times(field.type)) for field in kind])
    return kind


def _schema_of_plain(sample: bytes) -> pa.Schema | None:
    """What pyarrow would infer, where that is plain to see: objects of the same names, with strings, numbers or nulls.

    Setting up pyarrow's parser takes ten times as long as parsing a file of a line or two.
    """
    if not sample.isascii() or b"\\u" in sample:
        return None
    kinds: dict[str, pa.DataType] = {}
    try:
        for line in (line.strip(" \t\r") for line in sample.decode().split("\n")):
            pairs = _PLAIN.decode(line) if line else ()
            if not isinstance(pairs, tuple) or len(dict(pairs)) < len(pairs):
                return None
            names = [name for name, _ in pairs]
            if line and kinds and names != list(kinds):
                return None
            for name, value in pairs:
                if kinds.setdefault(name, _KINDS[type(value)]) != _KINDS[type(value)]:
                    return None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return pa.schema(list(kinds.items())) if kinds else None


def _schema_of_objects(sample: bytes) -> pa.Schema:
    values: dict[str, list[Any]] = {}
    starts, ends, _ = record_bounds(sample, None, is_last=True)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        try:
            record = json.loads(sample[start:end])
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            for name, value in record.items():
                values.setdefault(name, []).append(value)
    return pa.schema([(name, _type_of(found)) for name, found in values.items()])


def _type_of(values: list[Any]) -> pa.DataType:
    try:
        return pa.array(values).type  # not infer_type, which calls [1, "a"] integers
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.string()  # whatever a row holds can be kept as one


def read_rows(data: bytes, num_rows: int, columns: InputColumns, kept: pa.Schema) -> RawRows:
    """The rows of a run of lines; exactly ``num_rows`` of them, whatever is in the lines."""
    try:
        table = _parse(data, columns, kept)
    except (pa.ArrowException, UnicodeDecodeError):
        return _read_line_by_line(data, columns, kept)
    return RawRows(table) if table.num_rows == num_rows else _read_line_by_line(data, columns, kept)


def _parse(data: bytes, columns: InputColumns, kept: pa.Schema) -> pa.Table:
    fields = {name: pa.string() for name in columns.names}
    fields |= {f.name: f.type for f in kept if f.name not in (columns.text, columns.pair, columns.id)}
    if columns.id is None or columns.id in (columns.text, columns.pair):
        return _parse_as(data, fields)
    # Strings or whole numbers, said and not inferred: pyarrow would take dates for times, and long numbers for floats.
    try:
        return _parse_as(data, fields)
    except pa.ArrowInvalid:
        return _parse_as(data, fields | {columns.id: pa.int64()})


def _parse_as(data: bytes, fields: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
        ),
    )


def _read_line_by_line(data: bytes, columns: InputColumns, kept: pa.Schema) -> RawRows:
    bad = BadRows()
    starts, ends, _ = record_bounds(data, None, is_last=True)
    records = [
        _object(data[start:end], row, bad)
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
    ]
    arrays: dict[str, pa.Array] = {}
    for name in columns.names:
        values = [record.get(name) for record in records]
        if name in (columns.text, columns.pair):
            arrays[name] = _texts(values, name, bad)
        elif name == columns.id:
            arrays[name] = _ids(values, name, bad)
        else:
            field = kept.field(name)
            cast = [_kept(value, field, row, bad) for row, value in enumerate(values)]
            arrays[name] = pa.array(cast, field.type)
    return RawRows(pa.table(arrays), bad)


def _object(line: bytes, row: int, bad: BadRows) -> dict[str, Any]:
    try:
        # bytes that are no UTF-8 become lone surrogates, so that only the value with them is refused
        record = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        bad.add(row, "malformed_record", f"no JSON: {brief(error)}")
        return {}
    if not isinstance(record, dict):
        bad.add(row, "malformed_record", f"a JSON {type(record).__name__} where an object is expected")
        return {}
    return record


def _texts(values: Sequence[Any], name: str, bad: BadRows) -> pa.Array:
    texts: list[bytes | None] = []
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            bad.add(row, "not_a_string", f"column {name!r} holds a JSON {type(value).__name__}")
            value = None
        try:
            texts.append(None if value is None else value.encode("utf-8"))
        except UnicodeEncodeError as error:
            bad.add(row, "undecodable_text", f"column {name!r} is not UTF-8 at character {error.start}")
            texts.append(None)
    return pa.array(texts, pa.large_binary())


def _ids(values: Sequence[Any], name: str, bad: BadRows) -> pa.Array:
    ids = []
    for row, value in enumerate(values):
        if isinstance(value, dict | list):
            bad.add(row, "bad_column", f"column {name!r} holds a JSON {type(value).__name__}, which is no id")
            value = None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # also one of more than 64 bits
        ids.append(_kept(value, pa.field(name, pa.string()), row, bad))
    return pa.array(ids, pa.string())


def _kept(value: Any, field: pa.Field, row: int, bad: BadRows) -> Any:
    if isinstance(value, dict | list) and pa.types.is_string(field.type):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            bad.add(row, "bad_column", f"column {field.name!r} is not UTF-8")
            return None
    return None if value is None else cast_value(value, field, row, bad)
