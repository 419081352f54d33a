"""What an output folder says of the job that wrote it: what ran, when, and how far it came."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from jobs.corpus.entries import list_folder, look
from jobs.corpus.storage_errors import require_bucket, storage_error
from jobs.output.lease import Lease
from jobs.output.record import PART, OutputFolder, job_id
from strideformer.errors import StrideformerError

# What the clocks of a driver and of a storage may differ by, and what a job does before it writes job.json.
SLACK_SECONDS = 5.0


@dataclass(frozen=True)
class ReportedJob:
    """A job, as its output folder has it.

    Attributes:
        folder: where it lies.
        settings, fingerprint, totals: of job.json, and _SUCCESS (empty where there is none).
        parts: names of the parts that are committed, by shard.
        shards, documents: how many the plan has.
        running: the host of a driver that holds the folder; None where none does, or the job is finished.
        started, ended: as job.json and _SUCCESS say, or else when they, or the newest part, were written; None where
            the storage does not tell.
    """

    folder: OutputFolder
    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    totals: dict[str, Any]
    embeds: bool
    parts: Mapping[int, str]
    shards: int
    documents: int
    running: str | None
    started: datetime | None
    ended: datetime | None

    @property
    def id(self) -> str:
        """The job's name in its parts."""
        return job_id(self.fingerprint)

    @property
    def finished(self) -> bool:
        return bool(self.totals) and len(self.parts) == self.shards

    @property
    def done(self) -> str:
        """The job's own word for what it does to a document."""
        return "embedded" if self.embeds else "labelled"

    @property
    def state(self) -> str:
        """The job's state, as one phrase."""
        of = f"{len(self.parts):,} of {self.shards:,} shards"
        if self.finished:
            return f"finished: {of}"
        if self.running is not None:
            return f"running on {self.running}: {of}"
        return f"incomplete: {of}; parts were lost since it finished" if self.totals else f"stopped: {of}"

    @property
    def seconds(self) -> float | None:
        """How long a finished job took; None where more than one run had a part in it, as far as can be told.

        ``_SUCCESS`` has the seconds of the run that finished it, which is the only one if ``job.json`` is no older.
        """
        seconds = self.totals.get("seconds")
        if not self.finished or not isinstance(seconds, int | float):
            return None
        if self.started is not None and self.ended is not None:
            before = (self.ended - self.started).total_seconds() - seconds
            return None if before > SLACK_SECONDS else float(seconds)
        return float(seconds)


def open_job(url: str, options: Mapping[str, str]) -> ReportedJob:
    """Read what a folder says of its job.

    Raises:
        StrideformerError: there is nothing, or no job of ours wrote it; or its storage refuses.
    """
    folder = OutputFolder(url, options)
    require_bucket(*folder.at(), url)
    try:
        return _read(folder)
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, url) from error


def _read(folder: OutputFolder) -> ReportedJob:
    names = folder.names()
    if not names:
        raise StrideformerError(f"there is nothing at {folder.url}: give the output folder of classify or embed")
    if not {"job.json", "plan.parquet"} <= folder.names("_strideformer"):
        raise StrideformerError(
            f"{folder.url} is not what classify or embed wrote: it holds no _strideformer/job.json and plan"
        )
    record = folder.read_json("_strideformer/job.json")
    plan = folder.read_plan(["shard", "num_rows"])
    parts = {int(found[1]): name for name in sorted(names) if (found := PART.fullmatch(name))}
    shards = pc.unique(plan.column("shard"))
    if strange := sorted(parts.keys() - set(shards.to_pylist())):
        raise StrideformerError(
            f"{folder.url} holds {parts[strange[0]]}, which is not of this job (of such files: {len(strange)}): move "
            f"it away"
        )
    totals = folder.read_json("_SUCCESS") if "_SUCCESS" in names else {}
    holder = None if totals else Lease(folder).holder()
    return ReportedJob(
        folder=folder,
        settings=record.get("settings", {}),
        fingerprint=record.get("fingerprint", {}),
        totals=totals,
        embeds="encoder" in record,
        parts=parts,
        shards=len(shards),
        documents=int(pc.sum(plan.column("num_rows")).as_py() or 0),
        running=holder.host if holder is not None and holder.seconds_left > 0 and not holder.is_dead() else None,
        started=_moment(record.get("planned_at")) or _written(folder, "_strideformer/job.json"),
        ended=(_moment(totals.get("finished_at")) or _written(folder, "_SUCCESS")) if totals else _newest(folder),
    )


def _written(folder: OutputFolder, name: str) -> datetime | None:
    found = look(*folder.at(name))
    return None if found is None else _moment(found.modified)


def _newest(folder: OutputFolder) -> datetime | None:
    there = list_folder(*folder.at(), recursive=False)
    moments = [_moment(entry.modified) for entry in there if PART.fullmatch(posixpath.basename(entry.path))]
    return max(filter(None, moments), default=None)


def _moment(told: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(told or "")
    except ValueError:  # in a form of the storage's own, or not told
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
