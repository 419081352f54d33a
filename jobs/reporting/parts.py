"""Reading parts of an output folder: a few columns of one, in batches, or a few rows of some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.corpus.columns import brief
from jobs.corpus.opening import WatchedFile
from jobs.corpus.retries import with_retries
from jobs.corpus.storage import join, open_input
from jobs.corpus.storage_errors import storage_error
from jobs.output.commit import part_name
from jobs.output.record import OutputFolder
from strideformer.errors import StrideformerError

T = TypeVar("T")
# A row of the columns of one label is some 30 bytes: two megabytes.
BATCH_ROWS = 1 << 16
REMEDY = "delete it, and make it anew with the job's own command and --resume"


class UnfitPartError(ValueError):
    """Why a part that can be read is none that a job wrote, as the end of a sentence."""


def with_part(folder: OutputFolder, name: str, read: Callable[[pq.ParquetFile], T]) -> T:
    """What ``read`` makes of a part, from the beginning again where the storage fails for a moment.

    Args:
        name: of the part, below the folder.

    Raises:
        StrideformerError: it is damaged, or none that a job wrote, or the storage fails for good.
    """
    url = join(folder.url, name)

    def attempt() -> T:
        with _opened(folder, name, url) as part:
            return read(part)

    try:
        return with_retries(attempt, url)
    except UnfitPartError as error:
        raise StrideformerError(f"{url} {error}: give the output of classify or embed, as it was written") from error
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, url) from error


def batches(part: pq.ParquetFile, columns: Sequence[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """These columns, in the part's order; none of a part without rows.

    Raises:
        UnfitPartError: it has no such column.
    """
    there = set(part.schema_arrow.names)
    for name in columns:
        if name.partition(".")[0] not in there:
            raise UnfitPartError(f"has no column {name!r}")
    yield from part.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)


def take_rows(
    folder: OutputFolder, below: str, rows: Mapping[int, Sequence[int]], columns: Sequence[str]
) -> dict[tuple[int, int], dict[str, Any]]:
    """A few rows, by their shards and their places in these.

    Args:
        below: the folder of the parts, in OUTPUT.
        rows: places of rows, by shard.

    Returns:
        ``{(shard, row): values of the columns}``.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for shard, wanted in sorted(rows.items()):

        def read(part: pq.ParquetFile, wanted: Sequence[int] = wanted) -> list[dict[str, Any]]:
            taken: list[dict[str, Any]] = part.read(list(columns), use_threads=False).take(pa.array(wanted)).to_pylist()
            return taken

        values = with_part(folder, join(below, part_name(shard)) if below else part_name(shard), read)
        found.update(zip(((shard, row) for row in wanted), values, strict=True))
    return found


@contextmanager
def _opened(folder: OutputFolder, name: str, url: str) -> Iterator[pq.ParquetFile]:
    filesystem, path = folder.at(name)
    with open_input(filesystem, path) as file:
        watched = WatchedFile(file)
        try:
            with pq.ParquetFile(pa.PythonFile(watched, mode="r"), pre_buffer=True) as part:
                yield part
        except (pa.ArrowException, OSError) as error:
            if watched.failure is not None:
                raise watched.failure from error
            raise StrideformerError(f"{url} cannot be read ({brief(error)}): {REMEDY}") from error
