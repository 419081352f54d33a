"""One shard of the plan → one Arrow table, with every planned row in it, fit or unfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.columns import BadRows, InputColumns, RawRows, to_ids, to_kept, to_text
from jobs.corpus.formats import read_piece
from jobs.corpus.pieces import WHOLE_FILE, Piece, from_rows
from jobs.corpus.refusal import FILE_CHANGED, FileRefusedError, OnBadFile, Refusal
from jobs.corpus.retries import with_retries
from jobs.corpus.storage_errors import storage_error
from strideformer.watchdog import progressed

__all__ = ["InputColumns", "read_shard", "unread"]

NOT_RENAMED: Mapping[str, str] = MappingProxyType({})
_THREADS = 8  # files of one shard opened at once, which hides the latency of an object store


def read_shard(
    pieces: pa.Table | Sequence[Mapping[str, Any]],
    columns: InputColumns,
    kept_schema: pa.Schema,
    options: Mapping[str, str],
    on_bad_file: OnBadFile = "quarantine",
    renamed: Mapping[str, str] = NOT_RENAMED,
) -> pa.Table:
    """Read the pieces of one shard.

    Args:
        pieces: The plan's rows of one shard, as a table or as dicts, in order.
        columns: The input's columns.
        kept_schema: Names and types of the kept columns in the input.
        options: Storage options.
        on_bad_file: Whether the rows of a file that was changed, deleted or damaged since it was planned are
            quarantined, or the read fails.
        renamed: New names of kept columns, so that one may be called ``source`` in the input.

    Returns:
        One row a planned document, in the plan's order: ``doc_id`` string, ``source`` string, ``row`` int64
        (within the source), ``_shard`` int64, ``_text`` and ``_text_pair`` large_string (null where quarantined;
        each only if there is such a column), ``quarantine_reason`` string (null where the row is fit),
        ``quarantine_detail`` string, and the kept columns.

        The reasons: ``null_text``, ``empty_text``, ``not_a_string``, ``undecodable_text``,
        ``malformed_record``, ``bad_column``, and those of :mod:`jobs.corpus.refusal`. A file that the plan refused
        as a whole is one row without ``doc_id`` and ``row``.

    Raises:
        FileRefusedError: a file was changed since it was planned, and ``on_bad_file`` is fail.
        StrideformerError: the storage failed for longer than :func:`jobs.corpus.retries.with_retries` waits.
    """
    planned = from_rows(pieces.to_pylist() if isinstance(pieces, pa.Table) else pieces)

    def read(piece: Piece) -> RawRows:
        if piece.reason is not None:
            return _refused(piece, columns, Refusal(piece.reason, piece.detail or ""))
        try:
            rows = with_retries(lambda: _read_planned(piece, columns, kept_schema, options), piece.source)
        except FileRefusedError as error:
            if on_bad_file == "fail":
                raise
            return _refused(piece, columns, error.refusal)
        except Exception as error:  # botocore's errors are no OSErrors
            raise storage_error(error, piece.source) from error
        progressed()
        return rows

    if len(planned) > 1:
        with ThreadPoolExecutor(min(_THREADS, len(planned))) as pool:
            raw = list(pool.map(read, planned))
    else:
        raw = [read(piece) for piece in planned]
    tables = []
    for first, last in _alike(raw):
        tables.append(_finish(planned[first:last], _join(raw[first:last]), columns, kept_schema, renamed))
    return pa.concat_tables(tables).combine_chunks()


def unread(
    pieces: pa.Table,
    columns: InputColumns,
    kept_schema: pa.Schema,
    reason: str,
    detail: str,
    renamed: Mapping[str, str] = NOT_RENAMED,
) -> pa.Table:
    """What `read_shard` would give if every row were quarantined for this reason; no file is opened."""
    planned = from_rows(pieces.to_pylist())
    raw = _join([_refused(piece, columns, Refusal(reason, detail)) for piece in planned])
    return _finish(planned, raw, columns, kept_schema, renamed)


def _read_planned(piece: Piece, columns: InputColumns, kept: pa.Schema, options: Mapping[str, str]) -> RawRows:
    rows = read_piece(piece, columns, kept, options)
    if rows.table.num_rows != piece.num_rows:
        raise FileRefusedError(
            FILE_CHANGED,
            f"{piece.source} gave {rows.table.num_rows} rows from row {piece.row_start}, not the planned"
            f" {piece.num_rows}: the input must not change while a job runs; start again with --overwrite",
        )
    return rows


def _refused(piece: Piece, columns: InputColumns, refusal: Refusal) -> RawRows:
    bad = BadRows()
    for row in range(piece.num_rows):
        bad.add(row, refusal.reason, refusal.detail)
    return RawRows(pa.table({name: pa.nulls(piece.num_rows) for name in columns.names}), bad)


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


def _finish(
    pieces: Sequence[Piece],
    raw: RawRows,
    columns: InputColumns,
    kept_schema: pa.Schema,
    renamed: Mapping[str, str],
) -> pa.Table:
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
    kept = {renamed.get(field.name, field.name): to_kept(table.column(field.name), field, bad) for field in kept_schema}

    reasons, details = (
        np.full(table.num_rows, None, dtype=object),
        np.full(table.num_rows, None, dtype=object),
    )
    for index, (reason, detail) in bad.found.items():
        reasons[index], details[index] = reason, detail
    reason = pa.array(reasons, pa.string())
    fit = reason.is_null()
    nothing = pa.scalar(None, pa.large_string())
    if any(piece.row_start == WHOLE_FILE for piece in pieces):
        known = pc.not_equal(row, WHOLE_FILE)
        row = pc.if_else(known, row, pa.scalar(None, pa.int64()))
        ids = pc.if_else(known, ids, pa.scalar(None, pa.string()))
    result = {"doc_id": ids, "source": source, "row": row, "_shard": shard}
    if text is not None:
        result["_text"] = pc.if_else(fit, text, nothing) if bad.found else text
    if pair is not None:
        result["_text_pair"] = pc.if_else(fit, pair, nothing) if bad.found else pair
    result |= {"quarantine_reason": reason, "quarantine_detail": pa.array(details, pa.string())}
    return pa.table(result | kept)
