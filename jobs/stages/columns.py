"""How chunk views, chunk vectors and quarantine marks lie in Arrow columns between the stages.

Internal columns start with an underscore; the user's own never do. Buffers are wrapped, not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from strideformer.chunking import ChunkViews

if TYPE_CHECKING:
    from strideformer.token_bags import TokenBags

REASON, DETAIL = "quarantine_reason", "quarantine_detail"
DETAIL_LENGTH = 300
BAG_COLUMNS = ("token_bag_ids", "token_bag_counts")


def ragged(offsets: np.ndarray, values: np.ndarray | pa.Array) -> pa.LargeListArray:
    """(rows + 1,) offsets and flat values as a large_list column."""
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)


def flat(table: pa.Table, name: str) -> tuple[np.ndarray, pa.Array]:
    """A large_list column as (rows + 1,) int64 offsets from 0, and its flat values."""
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    offsets = column.offsets.to_numpy()
    start, end = int(offsets[0]), int(offsets[-1])
    return offsets - start, column.values.slice(start, end - start)


def attach_views(documents: pa.Table, views: ChunkViews) -> pa.Table:
    """Add ``_token_ids, _chunk_starts, _chunk_lengths, truncated`` (and ``_first_ids`` of pairs)."""
    columns: dict[str, Any] = {
        "_token_ids": ragged(views.token_offsets, views.token_ids),
        "_chunk_starts": ragged(views.chunk_offsets, views.chunk_starts),
        "_chunk_lengths": ragged(views.chunk_offsets, views.chunk_lengths),
        "truncated": pa.array(views.truncated),
    }
    if views.first_ids is not None and views.first_offsets is not None:
        columns["_first_ids"] = ragged(views.first_offsets, views.first_ids)
    return with_columns(documents, columns)


def read_views(documents: pa.Table) -> ChunkViews:
    """Chunk views as the chunk stage attached them."""
    token_offsets, token_ids = flat(documents, "_token_ids")
    chunk_offsets, chunk_starts = flat(documents, "_chunk_starts")
    first_offsets, first_ids = None, None
    if "_first_ids" in documents.column_names:
        first_offsets, values = flat(documents, "_first_ids")
        first_ids = values.to_numpy(zero_copy_only=False)
    return ChunkViews(
        token_ids=token_ids.to_numpy(zero_copy_only=False),
        token_offsets=token_offsets,
        chunk_starts=chunk_starts.to_numpy(zero_copy_only=False),
        chunk_lengths=flat(documents, "_chunk_lengths")[1].to_numpy(zero_copy_only=False),
        chunk_offsets=chunk_offsets,
        truncated=documents.column("truncated").to_numpy(),
        first_ids=first_ids,
        first_offsets=first_offsets,
    )


def bag_columns(bags: TokenBags, prefix: str = "") -> dict[str, pa.Array]:
    """``token_bag_ids``: large_list<uint32> and ``token_bag_counts``: large_list<int32>, as `TokenBags` has them."""
    values = zip(BAG_COLUMNS, (bags.ids, bags.counts), strict=True)
    return {f"{prefix}{name}": ragged(bags.offsets, each) for name, each in values}


def read_bags(documents: pa.Table, prefix: str = "") -> TokenBags:
    """Token bags as `bag_columns` made them; those of a row that is null are empty."""
    from strideformer.token_bags import TokenBags

    (offsets, ids), (_, counts) = (flat(documents, f"{prefix}{name}") for name in BAG_COLUMNS)
    return TokenBags(ids.to_numpy(zero_copy_only=False), counts.to_numpy(zero_copy_only=False), offsets)


def with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The table with columns added, or replaced where the name is there already."""
    for name, column in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table


def quarantine(documents: pa.Table, failures: Mapping[int, tuple[str, str]]) -> pa.Table:
    """Mark rows as unable to be labelled: ``{row: (reason, detail)}``; earlier marks stay."""
    if not failures:
        return documents
    columns = {}
    for position, name in enumerate((REASON, DETAIL)):
        values = np.array(documents.column(name).to_pylist(), dtype=object)
        for row, failure in failures.items():
            if documents.column(REASON)[row].as_py() is None:
                values[row] = failure[position][:DETAIL_LENGTH]
        columns[name] = pa.array(values, pa.string())
    return with_columns(documents, columns)


def bisect(start: int, end: int, work: Callable[[int, int], None], failed: Callable[[int, Exception], None]) -> None:
    """Call ``work(start, end)``; where it raises, halve the range until only the rows that fail are left out.

    One bad document costs about ``2·log2(rows)`` more calls and takes no other with it.
    """
    if start >= end:
        return
    try:
        work(start, end)
    except Exception as error:
        if end - start == 1:
            failed(start, error)
            return
        middle = (start + end) // 2
        bisect(start, middle, work, failed)
        bisect(middle, end, work, failed)
