"""Parquet: rows from the footer, read by row group; a corrupt file is told from a storage that fails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.corpus.columns import BadRows, RawRows, brief
from jobs.corpus.opening import WatchedFile
from jobs.corpus.records import CutPoints
from jobs.corpus.refusal import UNREADABLE_FILE, FileRefusedError

_BATCH_ROWS = 1024
_STREAM_BYTES = 4 << 20


def inspect(file: pa.NativeFile, names: Sequence[str], source: str) -> tuple[pa.Schema, CutPoints]:
    """Schema, and the row groups as cut points.

    ``offsets`` are the uncompressed bytes of the columns ``names`` before each group, from the footer: what
    the documents will take in memory, not places in the file.

    Raises:
        FileRefusedError: the footer cannot be read, or contradicts itself. What the storage raises passes through.
    """
    watched = WatchedFile(file)
    try:
        parquet = pq.ParquetFile(pa.PythonFile(watched, mode="r"))
        return parquet.schema_arrow, _cut_points(parquet.metadata, names)
    except Exception as error:  # a corrupt footer makes pyarrow raise nearly anything, UnicodeDecodeError too
        if watched.failure is not None:
            raise watched.failure from error
        raise FileRefusedError(
            UNREADABLE_FILE, f"{source} is no Parquet file that can be read: {brief(error)}"
        ) from error


def _cut_points(metadata: pq.FileMetaData, names: Sequence[str]) -> CutPoints:
    """ValueError if the numbers of rows do not fit each other: a plan made of them might never end."""
    rows = np.zeros(metadata.num_row_groups + 1, dtype=np.int64)
    offsets = np.zeros_like(rows)
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    leaves = [i for i, path in enumerate(paths) if any(f"{path}.".startswith(f"{name}.") for name in names)]
    for group in range(metadata.num_row_groups):
        details = metadata.row_group(group)
        columns = [details.column(i) for i in range(metadata.num_columns)]
        if details.num_rows < 0 or any(column.num_values < details.num_rows for column in columns):
            raise ValueError(f"row group {group} has not as many values as rows")
        rows[group + 1] = details.num_rows
        offsets[group + 1] = sum(max(columns[i].total_uncompressed_size, 0) for i in leaves)
    if int(rows.sum()) != metadata.num_rows:
        raise ValueError(f"the row groups have {int(rows.sum())} rows and the file {metadata.num_rows}")
    return CutPoints(np.cumsum(rows), np.cumsum(offsets))


def read_rows(file: pa.NativeFile, row_start: int, num_rows: int, names: Sequence[str]) -> RawRows:
    """``num_rows`` rows from ``row_start``. Rows of a group whose pages are corrupt are null and bad.

    Raises:
        FileRefusedError: the footer cannot be read.
        OSError: the storage failed.
    """
    watched = WatchedFile(file)
    try:
        parquet = pq.ParquetFile(
            pa.PythonFile(watched, mode="r"), page_checksum_verification=True, buffer_size=_STREAM_BYTES
        )
        groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
        kinds = [parquet.schema_arrow.field(name).type for name in names]
    except Exception as error:  # as in inspect
        if watched.failure is not None:
            raise watched.failure from error
        raise FileRefusedError(UNREADABLE_FILE, f"the footer cannot be read: {brief(error)}") from error
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
        except Exception as error:  # as in inspect
            if watched.failure is not None:
                raise watched.failure from error
            for row in range(done, done + last - first):
                bad.add(row, UNREADABLE_FILE, f"row group {group} cannot be read: {brief(error)}")
            tables.append(pa.table([pa.nulls(last - first, kind) for kind in kinds], names=list(names)))
        done += last - first
    table = pa.concat_tables(tables, promote_options="permissive")
    return RawRows(table, bad)


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
