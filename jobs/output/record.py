"""The output folder over a job's life: empty, started, resumed, finished."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from jobs.corpus.opening import WatchedFile
from jobs.corpus.retries import with_retries
from jobs.corpus.storage import delete, list_names, open_input, read_bytes, resolve, write_atomically
from jobs.corpus.storage_errors import require_bucket, storage_error
from jobs.output.commit import TEMPORARY_FOLDER
from jobs.output.receipt import RECEIPT_KEY, Receipt
from strideformer.errors import StrideformerError

PART = re.compile(r"part-(\d{8,})\.parquet")
OWN_NAMES = ("_strideformer", "_quarantine", "_SUCCESS")
# Reading footers and deleting are all latency.
THREADS = 32


@dataclass(frozen=True)
class OutputFolder:
    """OUTPUT and what a job keeps there: the plan, job.json, the parts, _SUCCESS."""

    url: str
    options: Mapping[str, str]

    def at(self, *names: str) -> tuple[pafs.FileSystem, str]:
        filesystem, root = resolve(self.url, self.options)
        return filesystem, posixpath.join(root, *names)

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        filesystem, path = self.at(name)
        temporary = self.at(TEMPORARY_FOLDER)[1]
        write_atomically(filesystem, path, pa.py_buffer(content), temporary_folder=temporary)

    def names(self, folder: str = "") -> set[str]:
        """Names in OUTPUT, or in a folder of it; empty where there is none.

        Raises:
            StrideformerError: it is a file, or may not be looked into.
        """
        try:
            return list_names(*(self.at(folder) if folder else self.at()))
        except (NotADirectoryError, PermissionError) as error:
            raise storage_error(error, self.url) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of ours.

        Raises:
            StrideformerError: it is no JSON object.
        """
        filesystem, path = self.at(name)
        try:
            values: dict[str, Any] = json.loads(bytes(read_bytes(filesystem, path)))
            if not isinstance(values, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise StrideformerError(f"{self.url}/{name} is not JSON ({error}): start again with --overwrite") from error
        return values

    def write_plan(self, plan: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(plan, sink, compression="zstd")
        self.write("_strideformer/plan.parquet", sink.getvalue())

    def read_plan(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The plan, or columns of it.

        Raises:
            StrideformerError: it is damaged.
        """
        filesystem, path = self.at("_strideformer/plan.parquet")
        content = read_bytes(filesystem, path)
        try:
            return pq.read_table(pa.BufferReader(content), columns=columns)
        except (pa.ArrowException, OSError) as error:
            place = f"{self.url}/_strideformer/plan.parquet"
            raise StrideformerError(f"{place} is damaged: start again with --overwrite") from error

    def clear(self) -> None:
        """Delete what an earlier job wrote here, and nothing else; our own lease stays.

        _SUCCESS goes first, and what tells which job it was last: if this is cut off, the parts that are left are not
        taken for those of another.
        """
        names = self.names()
        if "_SUCCESS" in names:
            self.remove("_SUCCESS")
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.remove, sorted(filter(PART.fullmatch, names))))
        for name in sorted(names.intersection(OWN_NAMES) - {"_SUCCESS", "_strideformer"}):
            self.remove(name)
        for record in sorted(self.names("_strideformer") - {"lease.json"}):
            self.remove(f"_strideformer/{record}")

    def receipts(self, job: str, shards: set[int]) -> Iterator[Receipt]:
        """Receipts of the shards that are committed, from their parts' footers.

        A part whose footer cannot be read, or that another job wrote, does not count as committed: the shard
        runs again and is written over.

        Raises:
            StrideformerError: a part is of no shard of these, so that its documents would stand in the output twice.
            OSError: the storage failed.
        """
        parts = {int(found[1]): name for name in self.names() if (found := PART.fullmatch(name))}
        if strange := sorted(parts.keys() - shards):
            raise StrideformerError(
                f"{self.url} holds {parts[strange[0]]}, which is not of this job (of such files: {len(strange)}): move "
                f"it away, or start again with --overwrite"
            )

        def read(shard: int) -> Receipt | None:
            filesystem, path = self.at(f"part-{shard:08d}.parquet")
            try:
                metadata = with_retries(lambda: _footer(filesystem, path), path)
                receipt = Receipt.from_json(metadata[RECEIPT_KEY])
            except (FileNotFoundError, KeyError, ValueError, TypeError):
                return None
            return receipt if receipt.job == job and receipt.shard == shard else None

        with ThreadPoolExecutor(THREADS) as pool:
            found_receipts = pool.map(read, sorted(parts))
            yield from (receipt for receipt in found_receipts if receipt is not None)

    def finish(self, totals: Mapping[str, Any], quarantining_shards: set[int]) -> None:
        """Write _SUCCESS, and delete what attempts that died left: uncounted quarantine parts, temporary files.

        Raises:
            OSError: the storage failed.
        """
        for name in self.names("_quarantine"):
            found = PART.fullmatch(name)
            if found and int(found[1]) not in quarantining_shards:
                delete(*self.at("_quarantine", name))
        self.write("_SUCCESS", json.dumps(totals, indent=2, ensure_ascii=False).encode())
        self.sweep()

    def remove(self, name: str) -> None:
        delete(*self.at(name))

    def sweep(self) -> None:
        """Delete temporary files, also those of processes that were killed."""
        delete(*self.at(TEMPORARY_FOLDER))


def job_id(fingerprint: Mapping[str, Any]) -> str:
    """A short name of what a job computes, written into every part."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]


def _footer(filesystem: pafs.FileSystem, path: str) -> Mapping[bytes, bytes]:
    """What a Parquet file's footer says beside its schema; nothing where it is damaged.

    Raises:
        OSError: the storage failed, which pyarrow does not tell from some damages.
    """
    with open_input(filesystem, path) as file:
        watched = WatchedFile(file)
        try:
            return pq.read_schema(pa.PythonFile(watched, mode="r")).metadata or {}
        except Exception as error:  # a corrupt footer makes pyarrow raise nearly anything
            if watched.failure is not None:
                raise watched.failure from error
            return {}


def check_usable(folder: OutputFolder, resume: bool, overwrite: bool) -> None:
    """Refuse an output that holds anything, unless told what to do with it.

    Raises:
        StrideformerError: it is not empty, its bucket is not there, or the storage refuses.
    """
    require_bucket(*folder.at(), folder.url)
    try:
        names = folder.names()
        records = folder.names("_strideformer") if names == {"_strideformer"} else set()
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, folder.url) from error
    doomed = sorted(name for name in names if name in OWN_NAMES or PART.fullmatch(name))
    if overwrite and doomed and "_strideformer" not in names:
        raise StrideformerError(
            f"output {folder.url} holds {doomed[0]!r}, which --overwrite would delete, but no job of strideformer that "
            f"wrote it: choose another folder, or delete it yourself"
        )
    if not names or overwrite:
        return
    if resume and "_strideformer" in names:
        if any(map(PART.fullmatch, names)) and "job.json" not in folder.names("_strideformer"):
            raise StrideformerError(
                f"{folder.url} holds labelled documents but not which job they are of: start again with --overwrite"
            )
        return
    if names == {"_strideformer"} and not records & {"plan.parquet", "job.json"}:
        return  # all that a call leaves which preflight refused, or that waited for the lease
    if resume:
        raise StrideformerError(
            f"{folder.url} holds files but no job of strideformer to resume: choose an empty folder"
        )
    started = "_strideformer" in names
    advice = "use --resume to go on with it or --overwrite to start again" if started else "choose an empty folder"
    raise StrideformerError(f"output {folder.url} is not empty (it holds {sorted(names)[0]!r}): {advice}")


def check_same_job(folder: OutputFolder, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume a job whose model, chunking, columns or input changed, and say what differs.

    What one of them does not say, such as a setting that is younger than the job, is None.

    Raises:
        StrideformerError: the first thing that differs, then and now.
    """
    for name in before | now:
        if before.get(name) != now.get(name):
            then, today = _short(before.get(name)), _short(now.get(name))
            raise StrideformerError(
                f"cannot resume {folder.url}: {name.replace('_', ' ')} was {then} and is now {today}; "
                f"put it back, or start again with --overwrite or another output"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
