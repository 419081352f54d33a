"""From files with cut points to shards: large files are cut, small ones put together, deterministically."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from jobs.corpus.listing import InputFile
from jobs.corpus.pieces import WHOLE_FILE, Piece
from jobs.corpus.records import CutPoints
from jobs.corpus.refusal import LARGEST_RECORD, RECORD_TOO_LARGE, Refusal

# A run that every shard reads from its begin (a row group, a compressed file) is cut into no more parts than
# this, which costs 8 readings of it, unless the parts would not fit in memory.
_CUTS_OF_COSTLY = 16
_COSTLY_BYTES = 64 << 20
_LARGEST_PART = 256 << 20

_SMALLEST_SHARE = 1 / 512  # of a full shard: smaller ones would cost more to schedule than to compute
_FILES_IN_SHARD = 512  # each is at least one request
# The first shards of several, as a share of the others: they show soon that a job works, and what it takes to read and
# commit two more is little beside all the others. Two, since of two that are read at once the second may be ready
# first: it was in one of four jobs, whose first label came after 12 seconds in place of 9.
_FIRST_SHARE = 1 / 16
_FIRST_SHARDS = 2
_ROUNDING = 1e-6
_FULLER = 1.25  # times the even share, to make up for shards before that could not be filled


@dataclass(frozen=True)
class Run:
    """Consecutive rows of one file that go into one shard together.

    ``weight`` is the share of a full shard that they fill. ``divisible``: they may be cut between any two
    rows (a Parquet row group). ``least_target``: the share that a part of its costly surroundings must have.
    ``refusal``: the run is never read, and goes to the quarantine.
    """

    file: InputFile
    row_start: int
    num_rows: int
    byte_start: int
    num_bytes: int
    weight: float
    divisible: bool
    least_target: float
    refusal: Refusal | None = None


def run_of_refused(file: InputFile, refusal: Refusal, shard_rows: int) -> Run:
    """A file that cannot be read at all: one document of the plan, whatever it may hold."""
    return Run(file, WHOLE_FILE, 1, 0, 0, 1 / shard_rows, False, 0.0, refusal)


def runs_of(file: InputFile, cuts: CutPoints, shard_rows: int, shard_bytes: int) -> Iterator[Run]:
    """The runs between a file's cut points."""
    is_parquet = file.format == "parquet"
    rows, offsets = cuts.rows.tolist(), cuts.offsets.tolist()
    of_file = max((rows[-1] - rows[0]) / shard_rows, (offsets[-1] - offsets[0]) / shard_bytes)
    for i in range(len(rows) - 1):
        num_rows, num_bytes = rows[i + 1] - rows[i], offsets[i + 1] - offsets[i]
        if not num_rows:
            continue
        if num_rows == 1 and num_bytes > LARGEST_RECORD and _is_read_as_a_whole(file):
            megabytes = LARGEST_RECORD >> 20
            refusal = Refusal(RECORD_TOO_LARGE, f"the record has {num_bytes:,} bytes, more than {megabytes} MiB")
            yield Run(file, rows[i], 1, offsets[i], num_bytes, 1 / shard_rows, False, 0.0, refusal)
            continue
        weight = max(num_rows / shard_rows, num_bytes / shard_bytes)
        least = 0.0
        if is_parquet and num_bytes > _COSTLY_BYTES:
            least = min(weight / _CUTS_OF_COSTLY, _LARGEST_PART / shard_bytes)
        elif file.compression != "none" and offsets[-1] > _COSTLY_BYTES:
            least = min(of_file / _CUTS_OF_COSTLY, _LARGEST_PART / shard_bytes)
        yield Run(file, rows[i], num_rows, offsets[i], num_bytes, weight, is_parquet, least)


def pack(
    runs: Sequence[Run],
    shard_rows: int,
    shard_bytes: int,
    min_shards: int,
    small_first: bool = False,
    most_shards: int | None = None,
) -> list[Piece]:
    """Pieces of all shards, in the order of the runs.

    Shards are of about equal weight: what is left is divided by the number of shards that are left, so that
    there is no small rest at the end. With ``small_first`` two small ones come before them where there are several.
    Where there would be more than ``most_shards`` they are larger, up to what still fits in memory.
    """
    total = sum(run.weight for run in runs)
    whole = 1.0
    if most_shards is not None:
        whole = max(1.0, min(total / most_shards, _LARGEST_PART / shard_bytes))
    wanted = max(math.ceil(total / whole), min(min_shards, math.ceil(total / _SMALLEST_SHARE)), 1)
    target = even = total / wanted
    parts = [part for run in runs for part in _divide(run, even)]
    small = _FIRST_SHARDS if small_first and wanted > 1 else 0
    if small:
        target = _FIRST_SHARE * even
        parts = [*_with_beginnings(parts[0], target, small), *parts[1:]]
        wanted += small

    pieces: list[Piece] = []
    shard, filled, files, left = 0, 0.0, 0, total
    for part in parts:
        previous = pieces[-1] if pieces and pieces[-1].shard == shard else None
        same_file = previous is not None and previous.source == part.file.source
        full = filled + part.weight > max(target, part.least_target) * (1 + _ROUNDING)
        if previous is not None and (full or (files == _FILES_IN_SHARD and not same_file)):
            shard, filled, files, same_file = shard + 1, 0.0, 0, False
            if shard >= small:
                target = min(left / max(wanted - shard, 1), _FULLER * even, whole)
        filled += part.weight
        left -= part.weight
        if same_file and part.refusal is None and previous is not None and previous.reason is None:
            last = pieces[-1]
            pieces[-1] = replace(last, num_rows=last.num_rows + part.num_rows, byte_end=_end(part))
        else:
            files += not same_file
            pieces.append(piece_of(part, shard))
    return pieces


def _divide(run: Run, target: float) -> Iterator[Run]:
    """Equal parts of about the target's weight, if the run may be divided and is heavier."""
    parts = math.ceil(run.weight / max(target, run.least_target) - _ROUNDING)
    parts = min(parts, run.num_rows)
    if not run.divisible or parts <= 1:
        yield run
        return
    for i in range(parts):
        first, last = run.num_rows * i // parts, run.num_rows * (i + 1) // parts
        share = (last - first) / run.num_rows
        yield replace(run, row_start=run.row_start + first, num_rows=last - first, weight=run.weight * share)


def _with_beginnings(run: Run, weight: float, number: int) -> Iterator[Run]:
    """So many times the first rows of so much weight, one at least, and the rest, if the run may be divided."""
    rows = max(1, int(run.num_rows * weight / run.weight)) if run.divisible and run.least_target == 0 else run.num_rows
    bounds = [min(i * rows, run.num_rows) for i in range(number + 1)]
    for first, last in pairwise([*bounds, run.num_rows]):
        if last > first:
            share = (last - first) / run.num_rows
            yield replace(run, row_start=run.row_start + first, num_rows=last - first, weight=run.weight * share)


def _is_read_as_a_whole(file: InputFile) -> bool:
    """The bytes between its cut points are those of one record, which is parsed in one go."""
    return file.format == "jsonl" or (file.format == "text" and file.compression == "none")


def piece_of(part: Run, shard: int) -> Piece:
    """A run as a piece of a shard."""
    file = part.file
    by_bytes = file.format not in ("parquet", "text") and part.row_start != WHOLE_FILE
    refusal = part.refusal
    return Piece(
        shard=shard,
        source=file.source,
        format=file.format,
        compression=file.compression,
        row_start=part.row_start,
        num_rows=part.num_rows,
        byte_start=part.byte_start if by_bytes else None,
        byte_end=_end(part) if by_bytes else None,
        size=file.size,
        modified=file.modified,
        etag=file.etag,
        reason=None if refusal is None else refusal.reason,
        detail=None if refusal is None else refusal.detail,
    )


def _end(part: Run) -> int | None:
    return None if part.file.format in ("parquet", "text") else part.byte_start + part.num_bytes
