"""What each format of input can tell and give: columns, cut points, and the rows of a piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.corpus import delimited, jsonl, parquet
from jobs.corpus.columns import InputColumns, RawRows
from jobs.corpus.delimited import DELIMITERS
from jobs.corpus.listing import InputFile
from jobs.corpus.pieces import Piece
from jobs.corpus.records import BLOCK_BYTES, BYTE_ORDER_MARK, CutPoints, find_cuts, record_bounds
from jobs.corpus.storage import open_input, resolve
from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_COLUMN = "text"  # the only column of a plain text file
_CHANGED = "the input must not change while a job runs; start again with --overwrite"
_SAMPLE_BYTES = 1 << 20
_LARGEST_SAMPLE = 64 << 20


@dataclass(frozen=True)
class Inspected:
    """What planning needs to know of a file.

    ``schema`` is None where an empty file has none. ``cuts.offsets`` are bytes of the decompressed file, or,
    for Parquet, of the texts.
    """

    schema: pa.Schema | None
    cuts: CutPoints


def inspect(
    file: InputFile, columns: InputColumns, options: Mapping[str, str], max_rows: int | None = None
) -> Inspected:
    """Schema and cut points of a file; of line-based files not beyond ``max_rows``.

    Raises:
        StrideformerError: it is not of its format, or was changed since it was listed. What the storage
            raises passes through.
    """
    if file.format == "text":
        # nothing to ask the storage: the size is known, and a compressed text is about three times as large
        size = file.size if file.compression == "none" else 3 * file.size
        return Inspected(pa.schema([(TEXT_COLUMN, pa.string())]), CutPoints(np.array([0, 1]), np.array([0, size])))
    if file.format == "parquet":
        with _opened(file, options) as raw:
            names = [name for name in (columns.text, columns.pair) if name is not None]
            schema, cuts = parquet.inspect(raw, names, file.source)
        return Inspected(schema, cuts)
    delimiter = DELIMITERS.get(file.format)
    sample = _sample(file, delimiter, options)
    if not sample.strip():
        return Inspected(None, CutPoints(np.zeros(1, np.int64), np.zeros(1, np.int64)))
    if delimiter is None:
        schema = jsonl.schema_of(sample, file.source)
    else:
        names = delimited.header_of(sample, delimiter, file.source)
        schema = pa.schema([(name, pa.string()) for name in names])
    with _decompressed(file, options) as stream:
        cuts = find_cuts(stream, delimiter, file.source, delimiter is not None, max_rows)
    return Inspected(schema, cuts)


def read_piece(piece: Piece, columns: InputColumns, kept: pa.Schema, options: Mapping[str, str]) -> RawRows:
    """The rows of a piece: exactly as many as planned.

    Raises:
        StrideformerError: the file was changed since it was planned. What the storage raises passes through.
    """
    if piece.format == "parquet":
        with _opened(piece, options) as file:
            return parquet.read_rows(file, piece.row_start, piece.num_rows, columns.names)
    if piece.format == "text":
        with _decompressed(piece, options) as stream:
            data = bytes(stream.read()).removeprefix(BYTE_ORDER_MARK)
        return RawRows(pa.table({TEXT_COLUMN: pa.array([data], pa.large_binary())}).select(columns.names))
    data = _read_range(piece, options)
    delimiter = DELIMITERS.get(piece.format)
    if delimiter is None:
        return jsonl.read_rows(data, piece.num_rows, columns, kept)
    header = delimited.header_of(_sample(piece, delimiter, options), delimiter, piece.source)
    return delimited.read_rows(data, piece.num_rows, header, columns, delimiter)


@contextmanager
def _opened(file: InputFile | Piece, options: Mapping[str, str]) -> Iterator[pa.NativeFile]:
    filesystem, path = resolve(file.source, options)
    with open_input(filesystem, path) as raw:
        if raw.size() != file.size:
            raise StrideformerError(
                f"{file.source} has {raw.size()} bytes where it had {file.size} when listed: {_CHANGED}"
            )
        yield raw


@contextmanager
def _decompressed(file: InputFile | Piece, options: Mapping[str, str]) -> Iterator[Any]:
    with _opened(file, options) as raw:
        if file.compression == "none":
            yield raw
            return
        if not file.size:
            yield pa.BufferReader(b"")
            return
        # the decompressor asks for 64 KiB at a time, each of which would be a request to an object store
        buffered = pa.BufferedInputStream(raw, BLOCK_BYTES)
        yield pa.CompressedInputStream(buffered, file.compression)


def _sample(file: InputFile | Piece, delimiter: str | None, options: Mapping[str, str]) -> bytes:
    """The first whole records of a file, at least one."""
    with _decompressed(file, options) as stream:
        sample = bytes(stream.read(_SAMPLE_BYTES))
        while True:
            _, _, consumed = record_bounds(sample, delimiter, is_last=False)
            if consumed:
                return sample[:consumed].removeprefix(BYTE_ORDER_MARK)
            more = bytes(stream.read(max(_SAMPLE_BYTES, len(sample))))
            sample += more
            if not more or len(sample) > _LARGEST_SAMPLE:
                return sample.removeprefix(BYTE_ORDER_MARK)


def _read_range(piece: Piece, options: Mapping[str, str]) -> bytes:
    assert piece.byte_start is not None
    assert piece.byte_end is not None
    length = piece.byte_end - piece.byte_start
    with _decompressed(piece, options) as stream:
        if piece.compression == "none":
            stream.seek(piece.byte_start)
        else:
            _skip(stream, piece.byte_start)
        data = bytes(stream.read(length))
    if len(data) != length:
        raise StrideformerError(
            f"{piece.source} ends at byte {piece.byte_start + len(data)} of {piece.byte_end} planned: {_CHANGED}"
        )
    return data


def _skip(stream: Any, length: int) -> None:
    while length > 0:
        skipped = len(stream.read(min(length, BLOCK_BYTES)))
        if not skipped:
            return
        length -= skipped


def require_columns(schema: pa.Schema, needed: Sequence[str], source: str) -> None:
    """Refuse a file that lacks a column, or has it twice.

    Raises:
        StrideformerError: names the column, the file, and the columns that it has.
    """
    for name in needed:
        if name not in schema.names:
            raise StrideformerError(f"{source} has no column {name!r}: it has {', '.join(map(repr, schema.names))}")
        if schema.names.count(name) > 1:
            raise StrideformerError(f"{source} has two columns named {name!r}: rename one")
