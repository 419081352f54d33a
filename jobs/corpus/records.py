"""Where the records of a line-based file begin and end, found with numpy at memory speed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.corpus.refusal import LARGEST_RECORD, RECORD_TOO_LARGE, FileRefusedError

BLOCK_BYTES = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE, _SPACE = 10, 13, 34, 32

# Cut points are kept for every record, until there are many: then for fewer, down to one in 64 records or
# 512 KiB, which is still far below a shard.
_MANY_CUTS = 4096
_FEWEST = 64
_FIRST_BYTES = 8 << 10

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CutPoints:
    """Where a file may be cut: row ``rows[i]`` begins at byte ``offsets[i]`` of the decompressed file.

    Both are (num_cuts + 1,) int64; the last ones are the number of rows and the end of the last row.
    """

    rows: Positions
    offsets: Positions

    @property
    def num_rows(self) -> int:
        return int(self.rows[-1])


def record_bounds(data: bytes | memoryview, delimiter: str | None, is_last: bool) -> tuple[Positions, Positions, int]:
    """Records in ``data``, which begins where a record does.

    Args:
        data: Bytes of the file.
        delimiter: Of CSV and TSV, where a newline inside quotes ends no record; None for JSON Lines.
        is_last: The file ends with ``data``, so that its last record needs no newline.

    Returns:
        starts, ends: (num_records,) int64, the newline not counted; blank lines are no records.
        consumed: bytes up to which records are complete.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(array == _NEWLINE)
    if delimiter is not None:
        newlines = _outside_quotes(data, array, newlines, delimiter)
    consumed = int(newlines[-1]) + 1 if newlines.size else 0
    if is_last and consumed < array.size:
        newlines = np.append(newlines, array.size)
        consumed = array.size
    starts = np.concatenate([np.zeros(1, np.int64), newlines[:-1] + 1]) if newlines.size else newlines
    keep = ~_blank(data, array, starts, newlines, delimiter)
    return starts[keep].astype(np.int64), newlines[keep].astype(np.int64), consumed


def _outside_quotes(
    data: bytes | memoryview, array: npt.NDArray[np.uint8], newlines: Positions, delimiter: str
) -> Positions:
    """Newlines before which the number of quotes is even, where that is right, and it nearly always is.

    Blocks of which it is wrong go through an exact expression, which is slower.
    """
    quotes = paired_quotes(array, delimiter)
    if quotes is None:
        return _exact_newlines(data, delimiter)
    outside: Positions = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return outside


def paired_quotes(array: npt.NDArray[np.uint8], delimiter: str) -> Positions | None:
    """Where there are quotes, one that opens and one that closes by turns.

    None where they are not so, since one stands inside a field that does not begin with one (``5" pipe``): such a quote
    is a plain letter.
    """
    quotes: Positions = np.flatnonzero(array == _QUOTE)
    opening = quotes[0::2]
    before = array[opening[opening > 0] - 1]
    # a quote before an opening one is the closing one of an escaped pair: the field goes on
    return quotes if np.isin(before, [_NEWLINE, ord(delimiter), _QUOTE]).all() else None


def _exact_newlines(data: bytes | memoryview, delimiter: str) -> Positions:
    letter = rb"[^\n" + re.escape(delimiter.encode()) + rb"]*+"
    field = rb'(?:"(?:[^"]++|"")*+"' + letter + rb'|(?!")' + letter + rb")"
    record = re.compile(rb"(?:" + field + re.escape(delimiter.encode()) + rb")*+" + field + rb"\n")
    ends = []
    found = record.match(data)
    while found:
        ends.append(found.end() - 1)
        found = record.match(data, found.end())
    return np.array(ends, dtype=np.int64)


def _blank(
    data: bytes | memoryview,
    array: npt.NDArray[np.uint8],
    starts: Positions,
    ends: Positions,
    delimiter: str | None,
) -> npt.NDArray[np.bool_]:
    lengths = ends - starts
    first = array[np.minimum(starts, max(array.size - 1, 0))] if starts.size else np.zeros(0, np.uint8)
    blank: npt.NDArray[np.bool_] = (lengths == 0) | ((lengths == 1) & (first == _RETURN))
    if delimiter is None:
        for i in np.flatnonzero((first <= _SPACE) & ~blank).tolist():
            blank[i] = not bytes(data[starts[i] : ends[i]]).strip()
    return blank


def scan_records(stream: Any, delimiter: str | None, source: str) -> Iterator[tuple[Positions, Positions]]:
    """Starts and ends, block by block, of the records of a decompressed file, counted from its begin.

    Raises:
        FileRefusedError: a record of CSV or TSV beyond the largest, most likely an unbalanced quote.
    """
    first = stream.read(BLOCK_BYTES)
    base = len(BYTE_ORDER_MARK) if first.startswith(BYTE_ORDER_MARK) else 0
    if delimiter is None:
        yield from _scan_lines(stream, first[base:], base)
    else:
        yield from _scan_quoted(stream, first[base:], base, delimiter, source)


def _scan_lines(stream: Any, block: bytes, base: int) -> Iterator[tuple[Positions, Positions]]:
    """Lines, however long: of one that a block does not end, only the start is kept."""
    start, has_content = base, False
    block = block or stream.read(BLOCK_BYTES)
    while block:
        newline = block.find(b"\n")
        has_content = has_content or bool(block[: newline if newline >= 0 else None].strip())
        if newline >= 0:
            if has_content:
                yield np.array([start]), np.array([base + newline])
            rest = memoryview(block)[newline + 1 :]
            after = base + newline + 1
            starts, ends, consumed = record_bounds(rest, None, is_last=False)
            if starts.size:
                yield starts + after, ends + after
            start, has_content = after + consumed, bool(bytes(rest[consumed:]).strip())
        base += len(block)
        block = stream.read(BLOCK_BYTES)
    if has_content:
        yield np.array([start]), np.array([base])


def _scan_quoted(
    stream: Any, carried: bytes, base: int, delimiter: str, source: str
) -> Iterator[tuple[Positions, Positions]]:
    while True:
        block = stream.read(max(BLOCK_BYTES, min(len(carried), LARGEST_RECORD - len(carried))))
        data = carried + block if block else carried
        starts, ends, consumed = record_bounds(data, delimiter, is_last=not block)
        if starts.size:
            yield starts + base, ends + base
        if not block:
            return
        carried = data[consumed:]
        base += consumed
        if len(carried) > LARGEST_RECORD:
            raise FileRefusedError(
                RECORD_TOO_LARGE,
                f"{source} has a record of more than {LARGEST_RECORD >> 20} MiB, beginning at byte {base}: look for a"
                " quote that is not closed, or convert the file to Parquet",
            )


def find_cuts(stream: Any, delimiter: str | None, source: str, header: bool, max_rows: int | None = None) -> CutPoints:
    """Scan a whole file, or as far as ``max_rows`` needs. ``header``: the first record is no row."""
    rows, offsets = np.zeros(0, np.int64), np.zeros(0, np.int64)
    step, total, end = 1, 0, 0
    for starts, ends in scan_records(stream, delimiter, source):
        if header:
            starts, ends, header = starts[1:], ends[1:], False
        if max_rows is not None:
            starts, ends = starts[: max_rows - total], ends[: max_rows - total]
        if starts.size:
            rows = np.concatenate([rows, np.arange(total, total + starts.size)])
            offsets = np.concatenate([offsets, starts])
            total, end = total + starts.size, int(ends[-1])
            rows, offsets, step = _thin(rows, offsets, step)
        if max_rows is not None and total >= max_rows:
            break
    return CutPoints(np.append(rows, total), np.append(offsets, end))


def _thin(rows: Positions, offsets: Positions, step: int) -> tuple[Positions, Positions, int]:
    if step == 1 and rows.size <= _MANY_CUTS:
        return rows, offsets, step  # nothing is left out yet
    while True:
        by_row, by_byte = rows // step, offsets // (step * _FIRST_BYTES)
        keep = np.ones(rows.size, dtype=np.bool_)
        keep[1:] = (np.diff(by_row) != 0) | (np.diff(by_byte) != 0)
        # a record that is refused for its size must share no piece with those before it
        keep[:-1] |= np.diff(offsets) > LARGEST_RECORD
        keep[-1:] = True
        rows, offsets = rows[keep], offsets[keep]
        if rows.size <= _MANY_CUTS or step >= _FEWEST:
            return rows, offsets, step
        step *= 2
