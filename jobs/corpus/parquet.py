"""Parquet: rows from the footer, read by row group; a corrupt file is told from a storage that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.corpus.columns import BadRows, RawRows, brief
from jobs.corpus.records import CutPoints
from strideformer.errors import StrideformerError

_BATCH_ROWS = 1024
_STREAM_BYTES = 4 << 20


class WatchedFile:
    """A file that remembers the storage's own failure.

    pyarrow raises OSError both when a page does not decompress, which is for ever, and when the storage
    fails, which may pass; only the second must end the task and be tried again.
    """

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> Any:
        try:
            return self._file.read_buffer(size if size >= 0 else None)
        except Exception as error:
            self.failure = error
            raise

    def seek(self, position: int, whence: int = 0) -> int:
        return int(self._file.seek(position, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The one who opened the file closes it."""


def inspect(file: pa.NativeFile, names: Sequence[str], source: str) -> tuple[pa.Schema, CutPoints]:
    """Schema, and the row groups as cut points.

    ``offsets`` are the uncompressed bytes of the columns ``names`` before each group, from the footer: what
    the texts will take in memory, not places in the file.

    Raises:
        StrideformerError: the footer cannot be read. What the storage raises passes through.
    """
    watched = WatchedFile(file)
    try:
        parquet = pq.ParquetFile(pa.PythonFile(watched, mode="r"))
        schema, metadata = parquet.schema_arrow, parquet.metadata
    except (pa.ArrowException, OSError) as error:
        if watched.failure is not None:
            raise watched.failure from error
        raise StrideformerError(f"{source} is no Parquet file that can be read: {brief(error)}") from error
    rows = np.zeros(metadata.num_row_groups + 1, dtype=np.int64)
    offsets = np.zeros_like(rows)
    leaves = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path in names]
    for group in range(metadata.num_row_groups):
        details = metadata.row_group(group)
        rows[group + 1] = details.num_rows
        offsets[group + 1] = sum(details.column(i).total_uncompressed_size for i in leaves)
    return schema, CutPoints(np.cumsum(rows), np.cumsum(offsets))


def read_rows(file: pa.NativeFile, row_start: int, num_rows: int, names: Sequence[str]) -> RawRows:
    """``num_rows`` rows from ``row_start``. Rows of a group whose pages are corrupt are null and bad.

    Raises:
        OSError: the storage failed.
    """
    watched = WatchedFile(file)
    try:
        parquet = pq.ParquetFile(
            pa.PythonFile(watched, mode="r"), page_checksum_verification=True, buffer_size=_STREAM_BYTES
        )
        groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
        kinds = parquet.schema_arrow
    except (pa.ArrowException, OSError) as error:
        if watched.failure is not None:
            raise watched.failure from error
        bad = BadRows()
        _refuse(bad, 0, num_rows, f"the footer cannot be read: {brief(error)}")
        return RawRows(pa.table({name: pa.nulls(num_rows) for name in names}), bad)
    bad = BadRows()
    tables: list[pa.Table] = []
    before, done = 0, 0
    for group, group_rows in enumerate(groups):
        first, last = max(row_start - before, 0), min(row_start + num_rows - before, group_rows)
        before += group_rows
        if first >= last:
            continue
        try:
            tables.append(_read_group(parquet, group, first, last, group_rows, names))
        except (pa.ArrowException, OSError) as error:
            if watched.failure is not None:
                raise watched.failure from error
            _refuse(bad, done, last - first, f"row group {group} cannot be read: {brief(error)}")
            empty = {name: pa.nulls(last - first, kinds.field(name).type) for name in names}
            tables.append(pa.table(empty))
        done += last - first
    table = pa.concat_tables(tables, promote_options="permissive")
    return RawRows(table, bad)


def _refuse(bad: BadRows, first: int, count: int, detail: str) -> None:
    for row in range(first, first + count):
        bad.add(row, "unreadable_file", detail)


def _read_group(
    parquet: pq.ParquetFile, group: int, first: int, last: int, group_rows: int, names: Sequence[str]
) -> pa.Table:
    if first == 0 and last == group_rows:
        table = parquet.read_row_group(group, columns=list(names), use_threads=False)
    else:
        # the group is decoded from its begin, a batch at a time: what comes before is let go, what comes
        # after is never read
        batches, position = [], 0
        for batch in parquet.iter_batches(
            batch_size=min(last - first, _BATCH_ROWS), row_groups=[group], columns=list(names), use_threads=False
        ):
            begin, end = max(first - position, 0), min(last - position, batch.num_rows)
            if begin < end:
                # a slice keeps the batch alive, and at most one batch at either end is cut
                batches.append(batch.slice(begin, end - begin))
            position += batch.num_rows
            if position >= last:
                break
        table = pa.Table.from_batches(batches)
    if table.num_rows != last - first:
        raise pa.ArrowInvalid(f"{table.num_rows} of {last - first} rows")
    return table.select(list(names))
