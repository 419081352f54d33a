"""CSV and TSV with a header. pyarrow parses whole shards; what it refuses is parsed record by record."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jobs.corpus.columns import BadRows, InputColumns, RawRows, brief
from jobs.corpus.records import paired_quotes, record_bounds
from jobs.corpus.refusal import UNREADABLE_FILE, WRONG_SCHEMA, FileRefusedError

DELIMITERS = {"csv": ",", "tsv": "\t"}
# A field in quotes, letters after its closing quote (which are not meant to be), or a field without quotes. As
# everywhere, a quote within a field that does not begin with one is a letter; so is a carriage return.
_FIELDS = {
    delimiter: re.compile(
        rb'"((?:[^"]++|"")*+)"([^' + delimiter.encode() + rb']*+)|(?!")([^' + delimiter.encode() + rb"]*+)"
    )
    for delimiter in DELIMITERS.values()
}


# A field in quotes that is never closed, or closed before its last letter; also found inside of a field in quotes.
_STRAY = {
    delimiter: re.compile(
        rb'(?:\A|[\n%b])"(?:[^"]++|"")*+(?:\Z|"(?!["\r\n%b]|\Z))' % (delimiter.encode(), delimiter.encode())
    )
    for delimiter in DELIMITERS.values()
}


def header_of(sample: bytes, delimiter: str, source: str) -> list[str]:
    """Column names of a file, from its first bytes without a byte order mark.

    Raises:
        FileRefusedError: the header is not UTF-8, or names a column twice.
    """
    starts, ends, _ = record_bounds(sample, delimiter, is_last=True)
    if not starts.size:
        return []
    try:
        fields = _fields(sample[starts[0] : ends[0]], delimiter)
        names = [field.decode("utf-8") for field in fields]
    except ValueError as error:
        raise FileRefusedError(UNREADABLE_FILE, f"{source} has a header that cannot be read: {brief(error)}") from error
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise FileRefusedError(WRONG_SCHEMA, f"{source} has two columns named {doubled[0]!r}: rename one")
    return names


def read_rows(data: bytes, num_rows: int, header: Sequence[str], columns: InputColumns, delimiter: str) -> RawRows:
    """The rows of a run of records, as binary columns; exactly ``num_rows`` of them, whatever they hold."""
    names = list(columns.names)
    if data.count(b"\r") != data.count(b"\r\n"):
        # pyarrow ends a record at a lone carriage return, which pandas and Python's csv write without quotes
        return _read_record_by_record(data, header, names, delimiter)
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(column_names=list(header), use_threads=False, block_size=len(data) + 1),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.large_binary())
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        table = None
    if table is not None and table.num_rows == num_rows and not _has_stray_quotes(data, delimiter):
        return RawRows(table)
    return _read_record_by_record(data, header, names, delimiter)


def _has_stray_quotes(data: bytes, delimiter: str) -> bool:
    """Whether a quote that opens a field is never closed, or closed by one that is not the last letter of its field.

    Then two records may have become one, since in a file without quoting a field began with a quote: pyarrow takes all
    up to the next quote, or to the end, for that field.
    """
    array = np.frombuffer(data, np.uint8)
    quotes = paired_quotes(array, delimiter)
    if quotes is None:
        return _STRAY[delimiter].search(data) is not None
    closing = quotes[1::2]
    after = array[closing[closing + 1 < array.size] + 1]
    return bool(quotes.size % 2) or not np.isin(after, np.frombuffer(b'"\r\n' + delimiter.encode(), np.uint8)).all()


def _read_record_by_record(data: bytes, header: Sequence[str], names: Sequence[str], delimiter: str) -> RawRows:
    bad = BadRows()
    starts, ends, _ = record_bounds(data, delimiter, is_last=True)
    rows: list[Sequence[bytes | None]] = []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        fields: Sequence[bytes | None] = []
        try:
            fields = _fields(data[start:end], delimiter)
            if len(fields) != len(header):
                bad.add(row, "malformed_record", f"{len(fields)} fields where the header has {len(header)}")
        except ValueError as error:
            bad.add(row, "malformed_record", str(error))
        rows.append(fields if len(fields) == len(header) else [None] * len(header))
    positions = {name: header.index(name) for name in names}
    table = {name: pa.array([row[i] for row in rows], pa.large_binary()) for name, i in positions.items()}
    return RawRows(pa.table(table), bad)


def _fields(record: bytes, delimiter: str) -> list[bytes]:
    """The fields of one record.

    Raises:
        ValueError: a quote is not closed, or by one of a later line which is not the last letter of its field.
    """
    record = record.removesuffix(b"\r")
    fields: list[bytes] = []
    position = 0
    while position <= len(record):
        found = _FIELDS[delimiter].match(record, position)
        if found is None:
            raise ValueError(f"the quote of field {len(fields) + 1} is not closed")
        quoted, after, plain = found.groups()
        if quoted is not None and after and b"\n" in quoted:
            raise ValueError(f"the quote of field {len(fields) + 1} is closed on a later line, inside of a field")
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"') + after)
        position = found.end() + 1
    return fields
