"""A job over shards, whatever it computes: check, plan or resume, run what is missing, account for every document.

A job module brings its own check, plan and pipeline; what is here is the same for all.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pyarrow as pa

from jobs.corpus.plan import files_without_documents, make_plan
from jobs.corpus.redaction import without_secrets
from jobs.corpus.storage_errors import storage_error
from jobs.output.lease import Lease
from jobs.output.limit import QuarantineLimit
from jobs.output.metrics import JobMetrics
from jobs.output.profile import print_profile, profile
from jobs.output.progress import Progress
from jobs.output.receipt import Receipt, add_up
from jobs.output.record import OutputFolder, check_same_job, check_usable, job_id
from jobs.output.summary import print_summary, success, this_moment
from jobs.preflight import Checked
from jobs.resources import MOST_SHARDS, Resources, alive_nodes, connect, disconnect, share_out
from jobs.settings import InputSettings, ShardedSettings
from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from ray.data import Dataset

CHAINED = "The above exception was the direct cause of the following exception:"
RAY_WRAPPER = "ray.exceptions.UserCodeException: "
OUR_ERRORS = re.compile(r"^strideformer\.errors\.\w+: ")
RESUME = "the same command with --resume goes on"


class JobFailedError(StrideformerError):
    """The job began and could not finish; what is committed stays, and ``--resume`` goes on."""

    exit_code = 1


class Fingerprinted(Protocol):
    """What a job's check found; the fingerprint is what must be the same for the job to be resumed."""

    @property
    def fingerprint(self) -> dict[str, Any]: ...


S = TypeVar("S", bound=ShardedSettings)
C = TypeVar("C", bound=Fingerprinted)


@dataclass(frozen=True)
class ShardedJob(Generic[S, C]):
    """What sets one job over shards apart from another.

    Attributes:
        check: finds what is wrong with the call before anything starts, and gives all that the job goes on with.
        plan: cuts the input into shards: one row a piece, as ``jobs.corpus.pieces.PLAN_SCHEMA``.
        pipeline: the flow of these shards, each to one receipt: ``(folder, plan, shards, job, settings, checked,
            resources)``.
        said_of: what ``job.json`` and ``_SUCCESS`` say beyond the settings and the totals.
        done, doing: the job's own words for what it does to a document.
    """

    check: Callable[[S], C]
    plan: Callable[[S, C, Resources], pa.Table]
    pipeline: Callable[[OutputFolder, pa.Table, Sequence[int], str, S, C, Resources], Dataset]
    said_of: Callable[[C], dict[str, Any]] = lambda checked: {}
    done: str = "labelled"
    doing: str = "labelling"

    def run(self, settings: S) -> dict[str, Any]:
        """Run the job.

        Returns:
            The totals, as ``_SUCCESS`` holds them.

        Raises:
            StrideformerError: the settings, the input, the model or the output is wrong; nothing has run.
            JobFailedError: the job began and failed; it can be resumed.
        """
        started = time.monotonic()
        folder = OutputFolder(settings.output, settings.storage_option)
        check_usable(folder, settings.resume, settings.overwrite)
        checked = self.check(settings)
        with Lease(folder):
            check_usable(folder, settings.resume, settings.overwrite)  # another driver may have begun meanwhile
            ours = False
            try:
                # ray.data is imported while Ray's node starts, and what it imports from elsewhere on a thread, while
                # Ray's other processes do; not ray.data itself: two threads must not import one package.
                threading.Thread(target=import_module, args=("pandas",), daemon=True).start()
                ours = connect(settings.ray_address, meanwhile=lambda: import_module("ray.data"))
                aggregators = getattr(settings, "aggregators", 0)
                resources = share_out(alive_nodes(), settings.encoders, settings.device, aggregators)
                if settings.dtype == "int8" and resources.encoder_gpus:
                    raise StrideformerError(
                        "dtype int8 is for CPUs, and this cluster's GPUs take the encoders: use auto, or --device cpu"
                    )
                plan, job = self.start_or_resume(folder, settings, checked, resources)
                return self.run_shards(folder, plan, job, settings, checked, resources, started)
            except OSError as error:
                raise JobFailedError(f"{storage_error(error, settings.output)}; {RESUME}") from error
            finally:
                if ours:
                    disconnect()

    def start_or_resume(
        self, folder: OutputFolder, settings: S, checked: C, resources: Resources
    ) -> tuple[pa.Table, str]:
        """The plan and the job's short name: read back when a job is resumed, so that neither ever changes, else made
        and written.
        """
        if settings.resume and "job.json" in folder.names("_strideformer"):
            before = folder.read_json("_strideformer/job.json")["fingerprint"]
            check_same_job(folder, before, checked.fingerprint)
            return folder.read_plan(), job_id(before)
        plan = self.plan(settings, checked, resources)
        if not plan.num_rows:
            raise StrideformerError(
                f"{', '.join(settings.inputs) or 'the store of embeddings'} holds no documents: check the path"
            )
        if settings.overwrite:  # not before: whatever refuses the call leaves what is there
            folder.clear()
        folder.write_plan(plan)
        record = {"fingerprint": checked.fingerprint, "settings": settings.model_dump(), "planned_at": this_moment()}
        record |= self.said_of(checked)
        folder.write("_strideformer/job.json", json.dumps(record, indent=2, ensure_ascii=False).encode())
        return plan, job_id(checked.fingerprint)

    def run_shards(
        self,
        folder: OutputFolder,
        plan: pa.Table,
        job: str,
        settings: S,
        checked: C,
        resources: Resources,
        started: float,
    ) -> dict[str, Any]:
        """Run the shards that are missing, check that every planned document is accounted for, write _SUCCESS."""
        shards = set(plan.column("shard").unique().to_pylist())
        planned = sum(plan.column("num_rows").to_pylist())
        limit = QuarantineLimit.of(settings.max_quarantined, planned)
        committed: set[int] = set()
        quarantining: set[int] = set()

        def counted(receipts: Iterator[Receipt]) -> Iterator[Receipt]:
            for receipt in receipts:
                if receipt.shard not in committed:
                    committed.add(receipt.shard)
                    if receipt.quarantined:
                        quarantining.add(receipt.shard)
                    yield receipt

        before = add_up(counted(folder.receipts(job, shards)))
        finished = "_SUCCESS" in folder.names()
        if finished and committed != shards:
            folder.remove("_SUCCESS")  # a part was lost since: it is not true any more
        elif finished:
            totals = folder.read_json("_SUCCESS")
            if settings.progress != "none":
                print(f"Nothing to do: {settings.output} is finished.", file=sys.stderr)
                print_summary(before, before, 0.0, settings.output, self.done)
            return totals
        limit.check(before, settings.output)
        metrics = JobMetrics(settings.output, planned, before)
        with Progress(planned, before, settings.progress, self.doing) as progress:
            missing = sorted(shards - committed)
            if missing:
                dataset = self.pipeline(folder, plan, missing, job, settings, checked, resources)
                try:
                    for receipt in counted(receipts_of(dataset)):
                        progress.add(receipt)
                        metrics.add(receipt)
                        if limit.exceeded(progress.total):
                            break
                except Exception as error:
                    raise JobFailedError(
                        f"the job stopped after {progress.total.documents:,} of {planned:,} documents: "
                        f"{first_line(error)}; {RESUME}"
                    ) from error
        total = progress.total
        limit.check(total, settings.output)
        if committed != shards or total.labelled + total.quarantined != planned:
            raise JobFailedError(
                f"{planned:,} documents were planned but {total.labelled:,} {self.done} and {total.quarantined:,} "
                f"quarantined in {len(committed)} of {len(shards)} shards; {RESUME}"
            )
        totals = success(total, time.monotonic() - started, len(shards), self.done)
        totals |= files_without_documents(plan) | self.said_of(checked)
        if settings.profile:
            totals["profile"] = profile(total)
        folder.finish(totals, quarantining)
        if settings.progress != "none":
            print_summary(total, before, progress.seconds, settings.output, self.done)
            if settings.profile:
                print_profile(total)
        return totals


def plan_corpus(settings: ShardedSettings, checked: Checked, resources: Resources) -> pa.Table:
    """The plan of a corpus of texts, in shards of a size that suits the cluster."""
    return make_plan(
        checked.files,
        checked.columns,
        settings.storage_option,
        **shard_sizes(settings, resources),
        limit=settings.limit,
        on_bad_file=settings.on_bad_file,
    )


def shard_sizes(settings: InputSettings, resources: Resources) -> dict[str, Any]:
    """How large a job's shards are: what :func:`jobs.corpus.plan.cut_into_shards` asks."""
    return {
        "shard_rows": settings.shard_rows or resources.shard_rows,
        "shard_bytes": settings.shard_bytes or resources.shard_bytes,
        "min_shards": resources.min_shards,
        "small_first": True,
        "most_shards": None if settings.shard_rows or settings.shard_bytes else MOST_SHARDS,
    }


def receipts_of(dataset: Dataset) -> Iterator[Receipt]:
    """Receipts as the shards are committed; running the dataset is a side effect of taking them."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from map(Receipt.from_json, batch.column("receipt").to_pylist())


def first_line(error: BaseException) -> str:
    """What went wrong, without Ray's words around it: one line.

    Ray Data raises an exception of its own for one in a task, and the task's own only survives in the text of the
    worker's traceback, before it. Elsewhere it is the last line of the deepest cause that has words.
    """
    words = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        before, found, _ = text.rpartition(CHAINED)
        if found and RAY_WRAPPER in text[len(before) :]:
            words = OUR_ERRORS.sub("", _last_line(before))
            break
        words = _last_line(text) or words
        cause = getattr(cause, "cause", None) or cause.__cause__
    # The first is ray.exceptions.OutOfDiskError, the second what Ray's own files met; ours name the place.
    if "local disk's utilization is over capacity" in words or "[Errno 28]" in words:
        return "the disk that Ray works on and spills its objects to is full on a node: free space there"
    return words


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return without_secrets(lines[-1])[:300] if lines else ""
