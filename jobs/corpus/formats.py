"""What each format of input can tell and give: columns, cut points, and the rows of a piece."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.corpus import delimited, jsonl, parquet
from jobs.corpus.columns import InputColumns, RawRows
from jobs.corpus.delimited import DELIMITERS
from jobs.corpus.listing import InputFile
from jobs.corpus.opening import decompressed, opened
from jobs.corpus.pieces import Piece
from jobs.corpus.records import BLOCK_BYTES, BYTE_ORDER_MARK, CutPoints, find_cuts, record_bounds
from jobs.corpus.refusal import FILE_CHANGED, LARGEST_RECORD, RECORD_TOO_LARGE, WRONG_SCHEMA, FileRefusedError
from strideformer.watchdog import progressed

TEXT_COLUMN = "text"  # the only column of a plain text file
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class Inspected:
    """What planning needs to know of a file.

    ``schema`` is None where an empty file has none. ``cuts.offsets`` are bytes of the decompressed file, or,
    for Parquet, of the texts.
    """

    schema: pa.Schema | None
    cuts: CutPoints
    etag: str = ""


def inspect(
    file: InputFile, columns: InputColumns, options: Mapping[str, str], max_rows: int | None = None
) -> Inspected:
    """Schema and cut points of a file; of line-based files not beyond ``max_rows``.

    Raises:
        FileRefusedError: it is not of its format, or was changed since it was listed. What the storage
            raises passes through.
    """
    if file.format == "text":
        # nothing to ask the storage: the size is known, and a compressed text is about three times as large
        size = file.size if file.compression == "none" else 3 * file.size
        return Inspected(pa.schema([(TEXT_COLUMN, pa.string())]), CutPoints(np.array([0, 1]), np.array([0, size])))
    if file.format == "parquet":
        with opened(file, options) as (raw, etag):
            schema, cuts = parquet.inspect(raw, columns.names, file.source)
        return Inspected(schema, cuts, etag)
    delimiter = DELIMITERS.get(file.format)
    with decompressed(file, options) as (stream, etag):
        content = None
        if file.compression == "none" and file.size <= _SAMPLE_BYTES:
            # one request is enough for a small file, and a corpus may be of many
            content = bytes(stream.read())
            stream = io.BytesIO(content)
        sample = _sample(stream, delimiter, file.source)
    if delimiter is not None and not sample.strip():
        return Inspected(None, CutPoints(np.zeros(1, np.int64), np.zeros(1, np.int64)), etag)
    schema = None
    if delimiter is not None:
        names = delimited.header_of(sample, delimiter, file.source)
        schema = pa.schema([(name, pa.string()) for name in names])
    elif sample.strip():  # else all lines so far are blank, or too large to be documents
        schema = jsonl.schema_of(sample, file.source)
    with nullcontext((io.BytesIO(content), "")) if content is not None else decompressed(file, options) as (stream, _):
        cuts = find_cuts(stream, delimiter, file.source, delimiter is not None, max_rows)
    return Inspected(schema, cuts, etag)


def read_piece(piece: Piece, columns: InputColumns, kept: pa.Schema, options: Mapping[str, str]) -> RawRows:
    """The rows of a piece: exactly as many as planned.

    Raises:
        FileRefusedError: the file was changed since it was planned. What the storage raises passes through.
    """
    if piece.format == "parquet":
        with opened(piece, options) as (file, _):
            return parquet.read_rows(file, piece.row_start, piece.num_rows, columns.names)
    if piece.format == "text":
        with decompressed(piece, options) as (stream, _):
            data = bytes(stream.read(LARGEST_RECORD + 1))
        if len(data) > LARGEST_RECORD:
            raise FileRefusedError(
                RECORD_TOO_LARGE, f"{piece.source} decompresses to more than {LARGEST_RECORD >> 20} MiB"
            )
        data = data.removeprefix(BYTE_ORDER_MARK)
        return RawRows(pa.table({TEXT_COLUMN: pa.array([data], pa.large_binary())}).select(columns.names))
    data = read_range(piece, options)
    delimiter = DELIMITERS.get(piece.format)
    if delimiter is None:
        return jsonl.read_rows(data, piece.num_rows, columns, kept)
    with decompressed(piece, options) as (stream, _):
        header = delimited.header_of(_sample(stream, delimiter, piece.source), delimiter, piece.source)
    try:
        require_columns(pa.schema([(name, pa.string()) for name in header]), columns.names, piece.source)
    except FileRefusedError as error:  # it had them when it was planned
        raise FileRefusedError(FILE_CHANGED, str(error)) from error
    return delimited.read_rows(data, piece.num_rows, header, columns, delimiter)


def _sample(stream: Any, delimiter: str | None, source: str) -> bytes:
    """The first whole records of a file, at least one if there is one of less than the largest size."""
    if delimiter is None:
        return _sample_of_lines(stream)
    sample = bytes(stream.read(_SAMPLE_BYTES))
    while True:
        _, _, consumed = record_bounds(sample, delimiter, is_last=False)
        more = b"" if consumed else bytes(stream.read(max(_SAMPLE_BYTES, min(len(sample), LARGEST_RECORD))))
        if consumed or not more:
            return sample[: consumed or None].removeprefix(BYTE_ORDER_MARK)
        sample += more
        if len(sample) > LARGEST_RECORD:
            raise FileRefusedError(
                RECORD_TOO_LARGE,
                f"{source} begins with a record of more than {LARGEST_RECORD >> 20} MiB: look for a quote that is"
                " not closed",
            )


def _sample_of_lines(stream: Any) -> bytes:
    """Lines that are too large are passed over, and never held whole."""
    blocks, size, too_large = [], 0, False
    while block := bytes(stream.read(_SAMPLE_BYTES)):
        newline = block.find(b"\n")
        if newline >= 0:
            # all whole lines of this block, after the one that began before it
            blocks.append(block[newline + 1 if too_large else 0 : block.rfind(b"\n") + 1])
            sample = b"".join(blocks).removeprefix(BYTE_ORDER_MARK)
            if sample.strip():
                return sample
            blocks, size, too_large = [block[block.rfind(b"\n") + 1 :]], 0, False
        elif not too_large:
            blocks.append(block)
        size += len(block)
        if size > LARGEST_RECORD:
            blocks, too_large = [], True
    return b"".join(blocks).removeprefix(BYTE_ORDER_MARK)


def read_range(piece: Piece, options: Mapping[str, str]) -> bytes:
    """The bytes of a piece of a line-based file, decompressed.

    Raises:
        FileRefusedError: the file ends before. What the storage raises passes through.
    """
    assert piece.byte_start is not None
    assert piece.byte_end is not None
    length = piece.byte_end - piece.byte_start
    with decompressed(piece, options) as (stream, _):
        if piece.compression == "none":
            stream.seek(piece.byte_start)
        else:
            _skip(stream, piece.byte_start)
        data = bytes(stream.read(length))
    if len(data) != length:
        raise FileRefusedError(
            FILE_CHANGED, f"{piece.source} ends at byte {piece.byte_start + len(data)} of {piece.byte_end} planned"
        )
    return data


def _skip(stream: Any, length: int) -> None:
    while length > 0:
        skipped = len(stream.read(min(length, BLOCK_BYTES)))
        if not skipped:
            return
        length -= skipped
        progressed()


def require_columns(schema: pa.Schema, needed: Sequence[str], source: str) -> None:
    """Refuse a file that lacks a column, or has it twice.

    Raises:
        FileRefusedError: names the column, the file, and the columns that it has.
    """
    for name in needed:
        if name not in schema.names:
            raise FileRefusedError(
                WRONG_SCHEMA, f"{source} has no column {name!r}: it has {', '.join(map(repr, schema.names))}"
            )
        if schema.names.count(name) > 1:
            raise FileRefusedError(WRONG_SCHEMA, f"{source} has two columns named {name!r}: rename one")
