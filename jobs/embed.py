"""The embed job: plan, read, chunk, encode, commit. Encode once; train, classify and evaluate from the store.

``strideformer embed INPUT OUTPUT --model ENCODER_OR_CHECKPOINT``, ``python -m jobs.embed …``, or ``run(settings)``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.cli import run_command
from jobs.embeddings.embed_preflight import CheckedEncoder, check
from jobs.embeddings.store import ENCODER_KEY, said_of_encoder
from jobs.flow import TASK_RETRIES, chunked_documents, encoder_options, encoders, over_shards, start_guard
from jobs.guard.stage import guarded_actor
from jobs.output.commit import Commit
from jobs.output.record import OutputFolder
from jobs.resources import COMMIT_CPUS, Resources
from jobs.settings import EmbedSettings
from jobs.sharded_job import ShardedJob, plan_corpus
from jobs.stages.embed import Embed

if TYPE_CHECKING:
    from ray.data import Dataset


def run(settings: EmbedSettings) -> dict[str, Any]:
    """Embed a corpus.

    Returns:
        The totals and the encoder, as ``_SUCCESS`` holds them.

    Raises:
        StrideformerError: the settings, the input, the encoder or the output is wrong; nothing has run.
        JobFailedError: the job began and failed; it can be resumed.
    """
    job = ShardedJob(
        check,
        plan_corpus,
        pipeline,
        said_of=lambda checked: said_of_encoder(checked.encoder),
        done="embedded",
        doing="embedding",
    )
    return job.run(settings)


def pipeline(
    folder: OutputFolder,
    plan: pa.Table,
    shards: Sequence[int],
    job: str,
    settings: EmbedSettings,
    checked: CheckedEncoder,
    resources: Resources,
) -> Dataset:
    """One shard is one block from the read to the commit, as in the classify job."""
    model, guard = checked.model.stored(), start_guard(settings)
    chunks = chunked_documents(plan, shards, settings, checked, model, resources, guard)
    options = replace(encoder_options(settings, checked.chunking, resources), chunk_layers=checked.encoder.chunk_layers)
    arguments = (model, options)
    pool = encoders(resources, shards)
    vectors = over_shards(chunks, guarded_actor(Embed), fn_constructor_args=(guard, Embed, arguments), **pool)
    metadata = {ENCODER_KEY: checked.encoder.hash.encode()}
    commit = Commit(folder.url, folder.options, job, checked.output_schema, metadata, stores_vectors=True)
    return over_shards(vectors, commit, num_cpus=COMMIT_CPUS, max_retries=TASK_RETRIES)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.embed``."""
    return run_command("embed", EmbedSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
