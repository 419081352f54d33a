"""The first half of the flow, which jobs share: one shard is one block from the read to the commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.corpus.source import Read, shard_blocks
from jobs.guard.attempts import MOST_ATTEMPTS, start_attempts
from jobs.guard.isolated_read import read_isolated
from jobs.guard.stage import Guard, guarded_task
from jobs.model_source import ModelSource
from jobs.preflight import Checked
from jobs.resources import Resources
from jobs.settings import ShardedSettings
from jobs.stages.chunk import Chunk, Chunking
from jobs.stages.encode import EncoderOptions

if TYPE_CHECKING:
    from ray.data import Dataset

# Ray's own default is to retry for ever. `jobs.guard` gives up sooner, with a better reason; this is the backstop.
TASK_RETRIES = 2 * MOST_ATTEMPTS
# While a node that died is not yet known to be dead, its actors' tasks fail and are sent again every second or so:
# three were used up before Ray restarted the actor elsewhere.
ACTOR_TASK_RETRIES = 100


def over_shards(shards: Dataset, stage: Any, **options: Any) -> Dataset:
    """A stage over whole shards: ``map_batches`` with these options.

    Not ``map_batches`` itself, which refuses a stage with GPUs that is handed whole blocks, as ours must be; its
    ``map_groups`` meets the same and goes this way, too. (Nor can retries be bounded through its named parameters.)
    """
    return shards.map_batches_internal(stage, batch_size=None, batch_format="pyarrow", zero_copy_batch=True, **options)


def planned_pieces(plan: pa.Table, shards: Sequence[int]) -> Dataset:
    """One block of pieces a shard, in a context that leaves blocks whole and the terminal to us."""
    import ray.data
    from ray.data import DataContext

    context = DataContext.get_current()
    context.target_max_block_size = None  # a block past 1.5 times this would be cut
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    quiet_ray_data()
    # not from_arrow, which runs a task for each block to look at it, before anything else of the job starts
    return ray.data.from_blocks(list(shard_blocks(plan, shards)))


def quiet_ray_data() -> None:
    """Leave the terminal to us: what ends a job is told in one sentence.

    Ray Data tells it several times, with tracebacks of its own executor; its log file in Ray's folder keeps them.
    """
    import ray.data  # which makes the handlers

    logger = logging.getLogger(ray.data.__name__)
    logger.setLevel(logging.ERROR)
    for handler in logger.handlers:  # Ray Data shares those of the root logger, which are the user's
        if isinstance(handler, logging.StreamHandler) and type(handler).__module__.startswith("ray."):
            handler.setLevel(logging.CRITICAL)


def chunked_documents(
    plan: pa.Table,
    shards: Sequence[int],
    settings: ShardedSettings,
    checked: Checked,
    model: ModelSource,
    resources: Resources,
    guard: Guard,
) -> Dataset:
    """Plan to chunk views: read, then chunk."""
    reading = (checked.columns, checked.kept, checked.kept_schema, settings.storage_option, settings.on_bad_file)
    read = guarded_task(guard, Read, reading, read_isolated)
    chunk = guarded_task(guard, Chunk, (model, checked.chunking))
    documents = over_shards(planned_pieces(plan, shards), read, **tasks(resources))
    return over_shards(documents, chunk, **tasks(resources))


def start_guard(settings: ShardedSettings) -> Guard:
    """What watches over the stages of this run."""
    return Guard(start_attempts(), settings.document_timeout)


def tasks(resources: Resources) -> dict[str, Any]:
    """What a reading or tokenising task asks of Ray."""
    return {"num_cpus": resources.task_cpus, "max_retries": TASK_RETRIES}


def encoders(resources: Resources, shards: Sequence[int]) -> dict[str, Any]:
    """What the encoders ask of Ray.

    The retry counts also keep Ray from fusing encoding with tokenising where their resources happen to be
    equal, as they are on some CPU clusters: production and tests run the same operators.
    """
    from ray.data import ActorPoolStrategy

    return {
        "compute": ActorPoolStrategy(
            min_size=min(resources.min_encoders, len(shards)), max_size=min(resources.max_encoders, len(shards))
        ),
        "num_cpus": resources.encoder_cpus,
        "num_gpus": resources.encoder_gpus or None,
        # One actor may meet many documents that kill it, and many nodes that go; `jobs.guard` bounds the attempts
        # at each shard, and at starting.
        "max_restarts": -1,
        "max_task_retries": ACTOR_TASK_RETRIES,
    }


def encoder_options(settings: ShardedSettings, chunking: Chunking, resources: Resources) -> EncoderOptions:
    """How each encoder runs."""
    return EncoderOptions(chunking, settings.device, settings.dtype, settings.token_budget, resources.threads)
