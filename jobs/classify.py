"""The classify job: plan, read, chunk, encode, aggregate, commit.

``strideformer classify INPUT OUTPUT --model MODEL``, ``python -m jobs.classify …``, or ``run(settings)``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs import preflight
from jobs.cli import run_command
from jobs.flow import TASK_RETRIES, WHOLE, chunked_documents, encoder_options, encoders, start_guard
from jobs.guard.stage import guarded_actor
from jobs.output.commit import Commit
from jobs.output.record import OutputFolder
from jobs.preflight import Checked
from jobs.resources import COMMIT_CPUS, Resources
from jobs.settings import ClassifySettings
from jobs.sharded_job import ShardedJob, plan_corpus
from jobs.stages.aggregate import Aggregate, EncodeAndAggregate
from jobs.stages.encode import Encode

if TYPE_CHECKING:
    from ray.data import Dataset


def run(settings: ClassifySettings) -> dict[str, Any]:
    """Label a corpus.

    Returns:
        The totals, as ``_SUCCESS`` holds them.

    Raises:
        StrideformerError: the settings, the input, the model or the output is wrong; nothing has run.
        JobFailedError: the job began and failed; it can be resumed.
    """
    return ShardedJob(preflight.check, plan_corpus, pipeline).run(settings)


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
    model, guard = checked.model.stored(), start_guard(settings)
    chunks = chunked_documents(plan, shards, settings, checked, model, resources, guard)
    arguments = (model, encoder_options(settings, checked, resources))
    pool = encoders(resources, shards)

    def labelling(stage: type, documents: Dataset, **actors: Any) -> Dataset:
        return documents.map_batches(
            guarded_actor(stage), fn_constructor_args=(guard, stage, arguments), **pool | actors, **WHOLE
        )

    if settings.aggregators:
        from ray.data import ActorPoolStrategy

        aggregators = ActorPoolStrategy(size=settings.aggregators)
        labelled = labelling(Aggregate, labelling(Encode, chunks), compute=aggregators)
    else:
        labelled = labelling(EncodeAndAggregate, chunks)
    commit = Commit(folder.url, folder.options, job, checked.output_schema)
    return labelled.map_batches(commit, num_cpus=COMMIT_CPUS, max_retries=TASK_RETRIES, **WHOLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.classify``."""
    return run_command("classify", ClassifySettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
