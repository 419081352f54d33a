"""The plan: which rows of which files make up each shard. Made once in the driver, kept beside the output."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from jobs.corpus.columns import InputColumns, is_textual, kept_type
from jobs.corpus.formats import Inspected, inspect, require_columns
from jobs.corpus.listing import InputFile
from jobs.corpus.packing import Run, pack, runs_of
from jobs.corpus.pieces import to_table
from jobs.corpus.records import CutPoints
from jobs.corpus.retries import with_retries
from jobs.corpus.storage_errors import storage_error
from strideformer.errors import StrideformerError

# 32 MiB of English is about 8 million tokens, 31,000 chunks of 384 tokens with a stride of 128: half a second
# to a second of a GPU, so that what a shard costs to schedule, read and commit is hidden, and yet only
# minutes of a CPU core, so that little is lost when one dies. 4,096 rows keep the files of short documents
# from being tiny.
SHARD_BYTES = 32 << 20
SHARD_ROWS = 4096
THREADS = 16  # planning waits on the storage, not on the processor
_FILES_AT_ONCE = 256


def make_plan(
    files: Sequence[InputFile],
    columns: InputColumns,
    options: Mapping[str, str],
    *,
    shard_rows: int = SHARD_ROWS,
    shard_bytes: int = SHARD_BYTES,
    min_shards: int = 1,
    small_first: bool = False,
    limit: int | None = None,
) -> pa.Table:
    """Cut the input into shards.

    Args:
        files: As :func:`jobs.corpus.listing.list_inputs` gives them.
        columns: The columns needed; every file must have them.
        options: Storage options.
        shard_rows: Most documents in a shard.
        shard_bytes: Most bytes of text in a shard, as far as can be told without reading it; a document is
            never cut, and large row groups and large compressed files, of which every shard reads all that
            comes before, are cut more coarsely.
        min_shards: Make shards smaller to have at least so many (several for each encoder, so that none waits
            long for the last), as far as that leaves them 1/512 of full size.
        small_first: Make the first shard a fraction of the others, so that its labels are there soon.
        limit: Only the first documents.

    Returns:
        One row a piece, see :data:`jobs.corpus.pieces.PLAN_SCHEMA`, in order; no row if there is no document.
        The same input and settings give the same plan.

    Raises:
        StrideformerError: a file cannot be read or lacks a column, or the first one's text is no text.
    """
    runs: list[Run] = []
    left = limit
    typed = False
    for file, inspected in _inspect_all(files, columns, options, limit):
        if inspected.schema is not None:
            require_columns(inspected.schema, columns.names, file.source)
            if not typed:
                _check_types(inspected.schema, columns, file.source)
            typed = True
        cuts = inspected.cuts
        if left is not None and cuts.num_rows > left:
            cuts = _first_rows(file, cuts, left, columns, options)
        if cuts.num_rows:
            runs.extend(runs_of(file, cuts, shard_rows, shard_bytes))
        if left is not None:
            left -= cuts.num_rows
            if left <= 0:
                break
    return to_table(pack(runs, shard_rows, shard_bytes, min_shards, small_first))


def check_columns(files: Sequence[InputFile], columns: InputColumns, options: Mapping[str, str]) -> pa.Schema:
    """Check the columns of the first file that has any, which is quick: ``make_plan`` looks at all files.

    Returns:
        The kept columns, with the types that they will have in the output.

    Raises:
        StrideformerError: a file cannot be read or lacks a column, or its text is no text.
    """
    for file in files:
        schema = _inspect(file, columns, options, max_rows=1).schema
        if schema is not None:
            require_columns(schema, columns.names, file.source)
            _check_types(schema, columns, file.source)
            return pa.schema([(name, kept_type(schema.field(name).type)) for name in columns.keep])
    return pa.schema([(name, pa.string()) for name in columns.keep])


def input_fingerprint(plan: pa.Table) -> str:
    """SHA-256 of what is read: each file's source, size, time of modification and rows.

    It does not depend on how the rows are cut into shards.
    """
    rows = plan.select(["source", "size", "modified", "row_start", "num_rows"]).to_pylist()
    digest = hashlib.sha256()
    for source, group in itertools.groupby(rows, key=lambda row: row["source"]):
        pieces = list(group)
        first = pieces[0]
        total = sum(piece["num_rows"] for piece in pieces)
        digest.update(repr((source, first["size"], first["modified"], first["row_start"], total)).encode())
    return digest.hexdigest()


def _inspect_all(
    files: Sequence[InputFile], columns: InputColumns, options: Mapping[str, str], limit: int | None
) -> Iterator[tuple[InputFile, Inspected]]:
    """In the order of the files, some ahead of what is asked for."""
    with ThreadPoolExecutor(THREADS) as pool:
        at_once = _FILES_AT_ONCE if limit is None else THREADS
        for start in range(0, len(files), at_once):
            some = files[start : start + at_once]
            yield from zip(some, pool.map(lambda file: _inspect(file, columns, options, limit), some), strict=True)


def _inspect(file: InputFile, columns: InputColumns, options: Mapping[str, str], max_rows: int | None) -> Inspected:
    try:
        return with_retries(lambda: inspect(file, columns, options, max_rows), file.source)
    except Exception as error:  # botocore's errors are no OSErrors
        raise storage_error(error, file.source) from error


def _first_rows(
    file: InputFile, cuts: CutPoints, num_rows: int, columns: InputColumns, options: Mapping[str, str]
) -> CutPoints:
    if file.format != "parquet":
        return _inspect(file, columns, options, num_rows).cuts
    keep = cuts.rows < num_rows
    share = np.interp(num_rows, cuts.rows, cuts.offsets)
    return CutPoints(np.append(cuts.rows[keep], num_rows), np.append(cuts.offsets[keep], math.ceil(share)))


def _check_types(schema: pa.Schema, columns: InputColumns, source: str) -> None:
    for name in (columns.text, columns.pair):
        if name is not None and not is_textual(schema.field(name).type):
            texts = [field.name for field in schema if is_textual(field.type)]
            hint = f"choose one of {', '.join(map(repr, texts))}" if texts else "it has no column of text"
            raise StrideformerError(f"{source}: column {name!r} holds {schema.field(name).type}, not text: {hint}")
    if columns.id is not None and pa.types.is_nested(schema.field(columns.id).type):
        raise StrideformerError(
            f"{source}: column {columns.id!r} holds {schema.field(columns.id).type}, which is no id: choose"
            " another id column, or none"
        )
