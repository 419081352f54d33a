"""The classify job: plan, read, chunk, encode, aggregate, commit.

``strideformer classify INPUT OUTPUT --model MODEL``, ``python -m jobs.classify …``, or ``run(settings)``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs import preflight
from jobs.cli import run_command
from jobs.embeddings import store_preflight
from jobs.embeddings.store_preflight import CheckedStore
from jobs.embeddings.stored_shard import ReadStored, plan_store, read_stored_isolated
from jobs.flow import (
    TASK_RETRIES,
    chunked_documents,
    encoder_options,
    encoders,
    over_shards,
    planned_pieces,
    start_guard,
    tasks,
)
from jobs.guard.stage import guarded_actor, guarded_task
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
    """Label a corpus, or the documents of a store of embeddings.

    Returns:
        The totals, as ``_SUCCESS`` holds them.

    Raises:
        StrideformerError: the settings, the input, the model or the output is wrong; nothing has run.
        JobFailedError: the job began and failed; it can be resumed.
    """
    if settings.embeddings is not None:
        return ShardedJob(store_preflight.check, plan_of_store, store_pipeline).run(settings)
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
    """The flow of the job: one shard is one block from the read to the commit."""
    model, guard = checked.model.stored(), start_guard(settings)
    chunks = chunked_documents(plan, shards, settings, checked, model, resources, guard)
    options = replace(encoder_options(settings, checked.chunking, resources), early_exit=settings.early_exit)
    arguments = (model, options)
    pool = encoders(resources, shards)

    def labelling(stage: type, documents: Dataset, **actors: Any) -> Dataset:
        return over_shards(
            documents, guarded_actor(stage), fn_constructor_args=(guard, stage, arguments), **pool | actors
        )

    if settings.aggregators:
        from ray.data import ActorPoolStrategy

        aggregators = ActorPoolStrategy(size=settings.aggregators)
        labelled = labelling(Aggregate, labelling(Encode, chunks), compute=aggregators)
    else:
        labelled = labelling(EncodeAndAggregate, chunks)
    commit = Commit(folder.url, folder.options, job, checked.output_schema)
    return over_shards(labelled, commit, num_cpus=COMMIT_CPUS, max_retries=TASK_RETRIES)


def plan_of_store(settings: ClassifySettings, checked: CheckedStore, resources: Resources) -> pa.Table:
    """A store was cut into shards when it was made."""
    return plan_store(checked.store, settings.limit)


def store_pipeline(
    folder: OutputFolder,
    plan: pa.Table,
    shards: Sequence[int],
    job: str,
    settings: ClassifySettings,
    checked: CheckedStore,
    resources: Resources,
) -> Dataset:
    """The second half of the flow over vectors that are there already: read, aggregate, commit."""
    model, guard = checked.model.stored(), start_guard(settings)
    reading = (checked.store.url, checked.kept, settings.storage_option, checked.bags)
    read = guarded_task(guard, ReadStored, reading, read_stored_isolated)
    vectors = over_shards(planned_pieces(plan, shards), read, **tasks(resources))
    arguments = (model, encoder_options(settings, checked.chunking, resources))
    pool = encoders(resources, shards)
    if settings.aggregators:
        from ray.data import ActorPoolStrategy

        pool |= {"compute": ActorPoolStrategy(size=settings.aggregators)}
    labelled = over_shards(vectors, guarded_actor(Aggregate), fn_constructor_args=(guard, Aggregate, arguments), **pool)
    commit = Commit(folder.url, folder.options, job, checked.output_schema)
    return over_shards(labelled, commit, num_cpus=COMMIT_CPUS, max_retries=TASK_RETRIES)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.classify``."""
    return run_command("classify", ClassifySettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
