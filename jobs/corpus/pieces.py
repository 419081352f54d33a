"""A piece: consecutive rows of one file. A shard is one piece or several; the plan is a table of pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

PLAN_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("compression", pa.string(), nullable=False),
        pa.field("row_start", pa.int64(), nullable=False),
        pa.field("num_rows", pa.int64(), nullable=False),
        pa.field("byte_start", pa.int64()),
        pa.field("byte_end", pa.int64()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
WHOLE_FILE = -1  # row_start of a file that was refused as a whole: how many rows it has, nobody knows


@dataclass(frozen=True)
class Piece:
    """Rows ``row_start`` to ``row_start + num_rows`` of a file.

    ``byte_start`` and ``byte_end`` bound them in the decompressed file (None for Parquet); ``size`` and
    ``modified`` and ``etag`` are the stored file's when it was planned. With a ``reason`` the piece is never read:
    it is one document, the file as a whole (``row_start`` is WHOLE_FILE) or one row, that goes to the quarantine.
    """

    shard: int
    source: str
    format: str
    compression: str
    row_start: int
    num_rows: int
    byte_start: int | None
    byte_end: int | None
    size: int
    modified: str
    etag: str = ""
    reason: str | None = None
    detail: str | None = None


def to_table(pieces: Sequence[Piece]) -> pa.Table:
    columns = [pa.array([getattr(piece, field.name) for piece in pieces], field.type) for field in PLAN_SCHEMA]
    return pa.table(columns, schema=PLAN_SCHEMA)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> list[Piece]:
    return [Piece(**{name: row[name] for name in PLAN_SCHEMA.names if name in row}) for row in rows]
