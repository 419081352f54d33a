"""The classify job: plan, read, chunk, encode, aggregate, commit.

``strideformer classify INPUT OUTPUT --model MODEL``, ``python -m jobs.classify …``, or ``run(settings)``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from jobs import preflight
from jobs.cli import run_command
from jobs.corpus.plan import SHARD_ROWS, files_without_documents, make_plan
from jobs.corpus.source import Read, shard_blocks
from jobs.output.commit import Commit
from jobs.output.limit import QuarantineLimit
from jobs.output.progress import Progress
from jobs.output.receipt import Receipt, add_up
from jobs.output.record import OutputFolder, check_same_job, check_usable
from jobs.output.summary import print_summary, success
from jobs.preflight import Checked
from jobs.resources import COMMIT_CPUS, Resources, alive_nodes, connect, share_out
from jobs.settings import ClassifySettings
from jobs.stages.aggregate import Aggregate, EncodeAndAggregate
from jobs.stages.chunk import Chunk
from jobs.stages.encode import Encode, EncoderOptions
from strideformer.errors import StrideformerError

# Ray retries for ever by default; a task or actor that dies this often is not unlucky.
TASK_RETRIES = 3
ACTOR_RESTARTS = 3


class JobFailedError(StrideformerError):
    """The job began and could not finish; what is committed stays, and ``--resume`` goes on."""

    exit_code = 1


def run(settings: ClassifySettings) -> dict[str, Any]:
    """Label a corpus.

    Returns:
        The totals, as ``_SUCCESS`` holds them.

    Raises:
        StrideformerError: the settings, the input, the model or the output is wrong; nothing has run.
        JobFailedError: the job began and failed; it can be resumed.
    """
    started = time.monotonic()
    folder = OutputFolder(settings.output, settings.storage_option)
    check_usable(folder, settings.resume, settings.overwrite)
    checked = preflight.check(settings)
    if settings.overwrite:
        folder.clear()
    ours = connect(settings.ray_address)
    try:
        resources = share_out(alive_nodes(), settings.encoders, settings.device, settings.aggregators)
        plan = start_or_resume(folder, settings, checked, resources)
        return label(folder, plan, settings, checked, resources, started)
    finally:
        if ours:
            ray.shutdown()


def start_or_resume(
    folder: OutputFolder, settings: ClassifySettings, checked: Checked, resources: Resources
) -> pa.Table:
    """The plan: read back when a job is resumed, else made and written, so that shards never change."""
    if settings.resume and "job.json" in folder.names("_strideformer"):
        check_same_job(folder, folder.read_json("_strideformer/job.json")["fingerprint"], checked.fingerprint)
        return folder.read_plan()
    plan = make_plan(
        checked.files,
        checked.columns,
        settings.storage_option,
        shard_rows=settings.shard_rows or SHARD_ROWS,
        shard_bytes=settings.shard_bytes or resources.shard_bytes,
        min_shards=resources.min_shards,
        limit=settings.limit,
        on_bad_file=settings.on_bad_file,
    )
    if not plan.num_rows:
        raise StrideformerError(f"{', '.join(settings.inputs)} holds no documents: check the path")
    folder.write_plan(plan)
    record = {"fingerprint": checked.fingerprint, "settings": settings.model_dump()}
    folder.write("_strideformer/job.json", json.dumps(record, indent=2, ensure_ascii=False).encode())
    return plan


def label(
    folder: OutputFolder,
    plan: pa.Table,
    settings: ClassifySettings,
    checked: Checked,
    resources: Resources,
    started: float,
) -> dict[str, Any]:
    """Run the shards that are missing, check that every planned document is accounted for, write _SUCCESS."""
    job = job_id(checked.fingerprint)
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
    if committed == shards and "_SUCCESS" in folder.names():
        totals = folder.read_json("_SUCCESS")
        if settings.progress != "none":
            print(f"Nothing to do: {settings.output} is finished.", file=sys.stderr)
            print_summary(before, before, 0.0, settings.output)
        return totals
    limit.check(before, settings.output)
    with Progress(planned, before, settings.progress) as progress:
        missing = sorted(shards - committed)
        if missing:
            dataset = pipeline(folder, plan, missing, job, settings, checked, resources)
            try:
                for receipt in counted(receipts_of(dataset)):
                    progress.add(receipt)
                    if limit.exceeded(progress.total):
                        break
            except Exception as error:
                raise JobFailedError(
                    f"the job stopped after {progress.total.documents:,} of {planned:,} documents: "
                    f"{first_line(error)}; the same command with --resume goes on"
                ) from error
    total = progress.total
    limit.check(total, settings.output)
    if committed != shards or total.labelled + total.quarantined != planned:
        raise JobFailedError(
            f"{planned:,} documents were planned but {total.labelled:,} labelled and {total.quarantined:,} "
            f"quarantined in {len(committed)} of {len(shards)} shards; the same command with --resume goes on"
        )
    totals = success(total, time.monotonic() - started, len(shards)) | files_without_documents(plan)
    folder.finish(totals, quarantining)
    if settings.progress != "none":
        print_summary(total, before, progress.seconds, settings.output)
    return totals


def pipeline(
    folder: OutputFolder,
    plan: pa.Table,
    shards: Sequence[int],
    job: str,
    settings: ClassifySettings,
    checked: Checked,
    resources: Resources,
) -> Dataset:
    """The flow of DESIGN.md: one shard is one block from the read to the commit."""
    context = DataContext.get_current()
    context.target_max_block_size = None  # a block past 1.5 times this would be cut
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Retries can be bounded in no other way: Ray 2.60 has no named parameters for them, and its own are endless.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")

    model = checked.model.stored()
    options = EncoderOptions(
        checked.chunking, settings.device, settings.dtype, settings.token_budget, resources.threads
    )
    # The retry counts also keep Ray from fusing encoding with tokenising where their resources happen to be
    # equal, as they are on some CPU clusters: production and tests run the same operators.
    encoders = {
        "compute": ActorPoolStrategy(
            min_size=min(resources.min_encoders, len(shards)), max_size=min(resources.max_encoders, len(shards))
        ),
        "num_cpus": resources.encoder_cpus,
        "num_gpus": resources.encoder_gpus or None,
        "max_restarts": ACTOR_RESTARTS,
        "max_task_retries": ACTOR_RESTARTS,
    }
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}

    read = Read(checked.columns, checked.kept, checked.kept_schema, settings.storage_option, settings.on_bad_file)
    pieces = ray.data.from_arrow(list(shard_blocks(plan, shards)))
    tasks = {"num_cpus": resources.task_cpus, "max_retries": TASK_RETRIES}
    documents = pieces.map_batches(read, **tasks, **whole)
    chunks = documents.map_batches(Chunk(model, checked.chunking), **tasks, **whole)
    arguments = {"fn_constructor_args": (model, options)}
    if settings.aggregators:
        aggregators = encoders | {"compute": ActorPoolStrategy(size=settings.aggregators)}
        vectors = chunks.map_batches(Encode, **arguments, **encoders, **whole)
        labelled = vectors.map_batches(Aggregate, **arguments, **aggregators, **whole)
    else:
        labelled = chunks.map_batches(EncodeAndAggregate, **arguments, **encoders, **whole)
    commit = Commit(folder.url, folder.options, job, checked.output_schema)
    return labelled.map_batches(commit, num_cpus=COMMIT_CPUS, max_retries=TASK_RETRIES, **whole)


def receipts_of(dataset: Dataset) -> Iterator[Receipt]:
    """Receipts as the shards are committed; running the dataset is a side effect of taking them."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from map(Receipt.from_json, batch.column("receipt").to_pylist())


def job_id(fingerprint: dict[str, Any]) -> str:
    """A short name of what the job computes, written into every part."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]


def first_line(error: BaseException) -> str:
    """What went wrong, without Ray's traceback of the worker: the last line of the deepest cause that has words."""
    words = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        words = lines[-1][:300] if lines else words
        cause = getattr(cause, "cause", None) or cause.__cause__
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.classify``."""
    return run_command("classify", ClassifySettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
