"""Cutting a piece in two, to find the row that kills its parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.corpus.delimited import DELIMITERS
from jobs.corpus.formats import read_range
from jobs.corpus.pieces import Piece
from jobs.corpus.records import record_bounds


def halves(piece: Piece, options: Mapping[str, str]) -> tuple[Piece, Piece] | None:
    """The first and the second half of a piece's rows; None for one row, or where the file is not as planned.

    Nothing is parsed: lines and quotes are counted, as the plan did.

    Raises:
        FileRefusedError: the file is not as planned. What the storage raises passes through.
    """
    if piece.num_rows < 2:
        return None
    rows = piece.num_rows // 2
    middle = None
    if piece.byte_start is not None:
        starts, _, _ = record_bounds(read_range(piece, options), DELIMITERS.get(piece.format), is_last=True)
        if len(starts) != piece.num_rows:
            return None
        middle = piece.byte_start + int(starts[rows])
    first = replace(piece, num_rows=rows, byte_end=middle)
    second = replace(piece, row_start=piece.row_start + rows, num_rows=piece.num_rows - rows, byte_start=middle)
    return first, second
