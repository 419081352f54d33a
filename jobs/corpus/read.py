"""One shard of the plan → one Arrow table, with every planned row in it, fit or unfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.columns import BadRows, InputColumns, RawRows, to_ids, to_kept, to_text
from jobs.corpus.formats import read_piece
from jobs.corpus.pieces import Piece, from_rows
from jobs.corpus.retries import with_retries
from jobs.corpus.storage_errors import storage_error
from strideformer.errors import StrideformerError

__all__ = ["InputColumns", "read_shard", "unread"]

_THREADS = 8  # files of one shard opened at once, which hides the latency of an object store


def read_shard(
    pieces: pa.Table | Sequence[Mapping[str, Any]],
    columns: InputColumns,
    kept_schema: pa.Schema,
    options: Mapping[str, str],
) -> pa.Table:
    """Read the pieces of one shard.

    Args:
        pieces: The plan's rows of one shard, as a table or as dicts, in order.
        columns: The input's columns.
        kept_schema: Names and types of the kept columns in the output.
        options: Storage options.

    Returns:
        One row a planned document, in the plan's order: ``doc_id`` string, ``source`` string, ``row`` int64
        (within the source), ``_shard`` int64, ``_text`` and ``_text_pair`` large_string (null where quarantined;
        each only if there is such a column), ``quarantine_reason`` string (null where the row is fit),
        ``quarantine_detail`` string, and the kept columns.

        The reasons: ``null_text``, ``empty_text``, ``not_a_string``, ``undecodable_text``,
        ``malformed_record``, ``bad_column``, ``unreadable_file``.

    Raises:
        StrideformerError: a file was changed since it was planned, or the storage failed for longer than
            :func:`jobs.corpus.retries.with_retries` waits.
    """
    planned = from_rows(pieces.to_pylist() if isinstance(pieces, pa.Table) else pieces)

    def read(piece: Piece) -> RawRows:
        try:
            return with_retries(lambda: read_piece(piece, columns, kept_schema, options), piece.source)
        except Exception as error:  # botocore's errors are no OSErrors
            raise storage_error(error, piece.source) from error

    if len(planned) > 1:
        with ThreadPoolExecutor(min(_THREADS, len(planned))) as pool:
            raw = list(pool.map(read, planned))
    else:
        raw = [read(piece) for piece in planned]
    for piece, rows in zip(planned, raw, strict=True):
        if rows.table.num_rows != piece.num_rows:
            raise StrideformerError(
                f"{piece.source} gave {rows.table.num_rows} rows from row {piece.row_start}, not the planned"
                f" {piece.num_rows}: the input must not change while a job runs; start again with --overwrite"
            )
    tables = []
    for first, last in _alike(raw):
        tables.append(_finish(planned[first:last], _join(raw[first:last]), columns, kept_schema))
    return pa.concat_tables(tables).combine_chunks()


def unread(pieces: pa.Table, columns: InputColumns, kept_schema: pa.Schema, reason: str, detail: str) -> pa.Table:
    """What `read_shard` would give if every row were quarantined for this reason; no file is opened."""
    planned = from_rows(pieces.to_pylist())
    count = sum(piece.num_rows for piece in planned)
    bad = BadRows(dict.fromkeys(range(count), (reason, detail)))
    nothing = pa.table({name: pa.nulls(count, pa.string()) for name in columns.names})
    empty = {field.name: pa.nulls(count, field.type) for field in kept_schema}
    for name, column in empty.items():
        nothing = nothing.set_column(nothing.column_names.index(name), name, column)
    return _finish(planned, RawRows(nothing, bad), columns, kept_schema)


def _alike(raw: Sequence[RawRows]) -> list[tuple[int, int]]:
    """Neighbours of one schema are converted together: a shard may be of hundreds of small files."""
    bounds = [0]
    bounds += [i for i in range(1, len(raw)) if not raw[i].table.schema.equals(raw[i - 1].table.schema)]
    return list(zip(bounds, [*bounds[1:], len(raw)], strict=True))


def _join(raw: Sequence[RawRows]) -> RawRows:
    if len(raw) == 1:
        return raw[0]
    bad = BadRows()
    before = 0
    for rows in raw:
        bad.found |= rows.bad.shifted(before)
        before += rows.table.num_rows
    return RawRows(pa.concat_tables([rows.table for rows in raw]), bad)


def _finish(pieces: Sequence[Piece], raw: RawRows, columns: InputColumns, kept_schema: pa.Schema) -> pa.Table:
    table, bad = raw.table, raw.bad
    counts = [piece.num_rows for piece in pieces]
    sources = pa.array([piece.source for piece in pieces], pa.string())
    source = sources.take(pa.array(np.repeat(np.arange(len(pieces)), counts)))
    row = pa.array(np.concatenate([np.arange(p.row_start, p.row_start + p.num_rows) for p in pieces]))
    shard = pa.array(np.repeat([piece.shard for piece in pieces], counts))

    ids = pc.binary_join_element_wise(source, row.cast(pa.string()), "#")
    if columns.id is not None:
        ids = to_ids(table.column(columns.id), ids, columns.id, bad)
    text = None if columns.text is None else to_text(table.column(columns.text), columns.text, bad)
    pair = None if columns.pair is None else to_text(table.column(columns.pair), columns.pair, bad)
    kept = {field.name: to_kept(table.column(field.name), field, bad) for field in kept_schema}

    reasons, details = (
        np.full(table.num_rows, None, dtype=object),
        np.full(table.num_rows, None, dtype=object),
    )
    for index, (reason, detail) in bad.found.items():
        reasons[index], details[index] = reason, detail
    reason = pa.array(reasons, pa.string())
    fit = reason.is_null()
    nothing = pa.scalar(None, pa.large_string())
    result = {"doc_id": ids, "source": source, "row": row, "_shard": shard}
    if text is not None:
        result["_text"] = pc.if_else(fit, text, nothing) if bad.found else text
    if pair is not None:
        result["_text_pair"] = pc.if_else(fit, pair, nothing) if bad.found else pair
    result |= {"quarantine_reason": reason, "quarantine_detail": pa.array(details, pa.string())}
    return pa.table(result | kept)
