"""The plan: which rows of which files make up each shard. Made once in the driver, kept beside the output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.corpus.columns import InputColumns, is_textual, is_uuid, kept_type
from jobs.corpus.formats import Inspected, inspect, require_columns
from jobs.corpus.listing import InputFile
from jobs.corpus.packing import Run, pack, run_of_refused, runs_of
from jobs.corpus.pieces import to_table
from jobs.corpus.records import CutPoints
from jobs.corpus.refusal import WRONG_SCHEMA, FileRefusedError, OnBadFile, Refusal
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
_FILES_AT_ONCE = 1024
_MOST_LOOKED_AT = 257
FILES_WITHOUT_DOCUMENTS = b"files_without_documents"  # of the plan's metadata: empty files are no fault, but told


def make_plan(
    files: Sequence[InputFile],
    columns: InputColumns,
    options: Mapping[str, str],
    *,
    shard_rows: int = SHARD_ROWS,
    shard_bytes: int = SHARD_BYTES,
    min_shards: int = 1,
    small_first: bool = False,
    most_shards: int | None = None,
    limit: int | None = None,
    on_bad_file: OnBadFile = "quarantine",
) -> pa.Table:
    """Cut the input into shards.

    Args:
        files: As :func:`jobs.corpus.listing.list_inputs` gives them.
        columns: The columns needed.
        options: Storage options.
        shard_rows: Most documents in a shard.
        shard_bytes: Most bytes of text in a shard, as far as can be told without reading it; a document is
            never cut, and large row groups and large compressed files, of which every shard reads all that
            comes before, are cut more coarsely.
        min_shards: Make shards smaller to have at least so many (several for each encoder, so that none waits
            long for the last), as far as that leaves them 1/512 of full size.
        small_first: Make the first two shards a fraction of the others, so that their labels are there soon.
        most_shards: Make shards larger where there would be more, as far as they fit in memory.
        limit: Only the first documents.
        on_bad_file: Whether a file that cannot be used is one document of the plan, on its way to the quarantine,
            or fails the plan.

    Returns:
        One row a piece, see :data:`jobs.corpus.pieces.PLAN_SCHEMA`, in order; no row if there is no document.
        The same input and settings give the same plan.

    Raises:
        StrideformerError: no file can be used (read, and with the columns), or one cannot and ``on_bad_file`` is
            fail. A text column of another type in some files is no fault of the plan: their rows are quarantined.
    """
    found = look_into(files, columns, options, limit, on_bad_file)
    return cut_into_shards(
        found,
        shard_rows=shard_rows,
        shard_bytes=shard_bytes,
        min_shards=min_shards,
        small_first=small_first,
        most_shards=most_shards,
    )


def look_into(
    files: Sequence[InputFile],
    columns: InputColumns,
    options: Mapping[str, str],
    limit: int | None = None,
    on_bad_file: OnBadFile = "quarantine",
) -> Iterator[tuple[InputFile, CutPoints | Refusal]]:
    """Each file with where it may be cut, or why it cannot be read: all that a plan reads of the input.

    Of Parquet that is the footer, of plain text nothing, and of a line-based file all of it, up to ``limit``.

    Raises:
        StrideformerError: as :func:`make_plan`; what is wrong with all files is raised after the last.
    """
    left = limit
    usable = False
    fault: StrideformerError | None = None
    for file, found in _inspect_all(files, columns, options, limit):
        problem = found if isinstance(found, FileRefusedError) else _type_problem(found.schema, columns, file.source)
        if problem is not None and on_bad_file == "fail":
            raise problem
        fault = fault or problem
        if isinstance(found, FileRefusedError):
            rows = 1
            yield file, found.refusal
        else:
            usable = usable or (problem is None and found.cuts.num_rows > 0)
            cuts = found.cuts
            if left is not None and cuts.num_rows > left:
                cuts = _first_rows(file, cuts, left, columns, options)
            rows = cuts.num_rows
            yield replace(file, etag=found.etag), cuts
        if left is not None:
            left -= rows
            if left <= 0:
                break
    if fault is not None and not usable:
        raise fault


def cut_into_shards(
    found: Iterable[tuple[InputFile, CutPoints | Refusal]],
    *,
    shard_rows: int,
    shard_bytes: int,
    min_shards: int = 1,
    small_first: bool = False,
    most_shards: int | None = None,
) -> pa.Table:
    """The plan of files that were looked into; arguments and result are those of :func:`make_plan`."""
    runs: list[Run] = []
    empty = 0
    for file, cuts in found:
        if isinstance(cuts, Refusal):
            runs.append(run_of_refused(file, cuts, shard_rows))
        else:
            runs.extend(runs_of(file, cuts, shard_rows, shard_bytes))
            empty += not cuts.num_rows
    plan = to_table(pack(runs, shard_rows, shard_bytes, min_shards, small_first, most_shards))
    return plan.replace_schema_metadata({FILES_WITHOUT_DOCUMENTS: str(empty).encode()})


def check_columns(
    files: Sequence[InputFile],
    columns: InputColumns,
    options: Mapping[str, str],
    on_bad_file: OnBadFile = "quarantine",
) -> pa.Schema:
    """Find out within seconds whether a call can be right: ``make_plan`` looks at all files.

    Looks for one file that has the columns: at the first, and then at up to 256 spread evenly over the others. A
    name that is in none of them is a wrong name, and no reason to quarantine a corpus.

    Returns:
        The kept columns, with the types that they will have in the output.

    Raises:
        StrideformerError: no file that was looked at can be read and has the columns and a text that is text; or,
            where ``on_bad_file`` is fail, the first with any rows cannot or has not.
    """
    spread = (
        [files[i] for i in sorted(set(np.linspace(0, len(files) - 1, _MOST_LOOKED_AT, dtype=int)))] if files else []
    )
    faults: list[StrideformerError] = []
    with ThreadPoolExecutor(THREADS) as pool:
        # one by itself first: nearly always it is enough
        for some in [spread[:1], *(spread[i : i + THREADS] for i in range(1, len(spread), THREADS))]:
            for file, found in zip(some, pool.map(lambda f: _judge(f, columns, options, 1), some), strict=True):
                if not isinstance(found, FileRefusedError) and found.schema is None:
                    continue
                problem = (
                    found if isinstance(found, FileRefusedError) else _type_problem(found.schema, columns, file.source)
                )
                if problem is None:
                    assert isinstance(found, Inspected)
                    assert found.schema is not None
                    schema = found.schema
                    return pa.schema([(name, kept_type(schema.field(name).type)) for name in columns.keep])
                if on_bad_file == "fail":
                    raise problem
                faults.append(problem)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise StrideformerError(f"none of the {len(faults)} files looked at can be used; the first: {faults[0]}")
    return pa.schema([(name, pa.string()) for name in columns.keep])


def files_without_documents(plan: pa.Table) -> dict[str, int]:
    """For a job's totals: how many input files are empty, so that none is passed over without a word."""
    return {FILES_WITHOUT_DOCUMENTS.decode(): int((plan.schema.metadata or {}).get(FILES_WITHOUT_DOCUMENTS, 0))}


def _inspect_all(
    files: Sequence[InputFile], columns: InputColumns, options: Mapping[str, str], limit: int | None
) -> Iterator[tuple[InputFile, Inspected | FileRefusedError]]:
    """In the order of the files, some ahead of what is asked for."""

    def judge(group: Sequence[InputFile]) -> list[Inspected | FileRefusedError]:
        return [_judge(file, columns, options, limit) for file in group]

    with ThreadPoolExecutor(THREADS) as pool:
        at_once = _FILES_AT_ONCE if limit is None else THREADS
        # a thread takes several of many: handing over a small file takes as long as looking at it
        several = max(1, min(at_once, len(files)) // (4 * THREADS))
        for start in range(0, len(files), at_once):
            groups = [files[i : i + several] for i in range(start, min(start + at_once, len(files)), several)]
            for group, found in zip(groups, pool.map(judge, groups), strict=True):
                yield from zip(group, found, strict=True)


def _judge(
    file: InputFile, columns: InputColumns, options: Mapping[str, str], max_rows: int | None
) -> Inspected | FileRefusedError:
    """What planning needs to know of a file, or why it cannot be used. A storage that fails raises."""
    try:
        found = with_retries(lambda: inspect(file, columns, options, max_rows), file.source)
        if found.schema is not None:
            require_columns(found.schema, columns.names, file.source)
    except FileRefusedError as error:
        return error
    except Exception as error:  # botocore's errors are no OSErrors
        raise storage_error(error, file.source) from error
    return found


def _first_rows(
    file: InputFile, cuts: CutPoints, num_rows: int, columns: InputColumns, options: Mapping[str, str]
) -> CutPoints:
    if file.format != "parquet":
        again = _judge(file, columns, options, num_rows)
        if isinstance(again, FileRefusedError):
            raise again
        return again.cuts
    keep = cuts.rows < num_rows
    share = np.interp(num_rows, cuts.rows, cuts.offsets)
    return CutPoints(np.append(cuts.rows[keep], num_rows), np.append(cuts.offsets[keep], math.ceil(share)))


def _type_problem(schema: pa.Schema | None, columns: InputColumns, source: str) -> FileRefusedError | None:
    """Why no row of the file can be labelled, though it has the columns: a text that is no text, an id that is none."""
    if schema is None:
        return None
    for name in (columns.text, columns.pair):
        if name is not None and not is_textual(schema.field(name).type):
            texts = [field.name for field in schema if is_textual(field.type)]
            hint = f"choose one of {', '.join(map(repr, texts))}" if texts else "it has no column of text"
            kind = schema.field(name).type
            return FileRefusedError(WRONG_SCHEMA, f"{source}: column {name!r} holds {kind}, not text: {hint}")
    if columns.id is not None and not _is_id(schema.field(columns.id).type):
        return FileRefusedError(
            WRONG_SCHEMA,
            f"{source}: column {columns.id!r} holds {schema.field(columns.id).type}, which is no id: choose"
            " another id column, or none",
        )
    return None


def _is_id(kind: pa.DataType) -> bool:
    """False of what is no single value, or one that only its extension knows how to write."""
    return is_uuid(kind) or not (isinstance(kind, pa.BaseExtensionType) or pa.types.is_nested(kind))
