"""The plan command: what a classify or embed of a corpus would be, before anything is spent.

``strideformer plan INPUT --model MODEL``, ``python -m jobs.plan …``, or ``run(settings)``. Without Ray: the input is
listed and counted by the job's own plan, a sample of its documents is read and chunked by the job's own stages, and the
encoder is timed on some of them.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs import preflight
from jobs.cli import run_command
from jobs.corpus.listing import InputFile
from jobs.corpus.plan import cut_into_shards, look_into
from jobs.embeddings.embed_preflight import bare_encoder, check_encoder
from jobs.model_source import ModelSource
from jobs.output.commit import EMBEDDED_COLUMNS, OWN_COLUMNS
from jobs.output.json_file import check_json_file, write_json
from jobs.output.progress import count
from jobs.output.summary import versions
from jobs.plan_settings import PlanSettings
from jobs.planning.alternatives import compare
from jobs.planning.encoder_rate import EncoderRate, machine_gpus, threads_here, time_encoder
from jobs.planning.estimate import Estimate, Estimator
from jobs.planning.inventory import READ_TO_COUNT, Found, Inventory, take_inventory
from jobs.planning.lengths import Lengths, measure
from jobs.planning.sample import draw_sample
from jobs.planning.table import Outlook, Spread, Time, Totals, print_outlook
from jobs.resources import share_out
from jobs.sharded_job import shard_sizes
from jobs.stages.chunk import Chunking
from jobs.stages.columns import REASON
from jobs.stages.encode import EncoderOptions
from jobs.stored_model import local_model
from strideformer.errors import StrideformerError
from strideformer.locations import read_config, resolve_encoder

ENCODERS = (1, 8, 64)
SHARES = [0.5, 0.9, 0.99]
MUCH_TO_READ = 1 << 30  # bytes, seconds of a disk and more of an object store


@dataclass(frozen=True)
class Planned:
    """What the plan is of: the job, its model, how that reads documents, and how it was trained to."""

    job: str
    model: ModelSource
    chunking: Chunking
    own: Chunking


def run(settings: PlanSettings) -> dict[str, Any]:
    """Plan, print, and write what was asked for.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        StrideformerError: the settings, the input or the model is wrong, or the storage fails.
    """
    check_json_file(settings.json_file, settings.storage_option, settings.overwrite)
    model = local_model(settings.model, settings.storage_option)
    is_checkpoint = read_config(resolve_encoder(model)).get("model_type") == "strideformer"
    options, on_bad_file = settings.storage_option, settings.on_bad_file
    corpus = preflight.check_input(settings, OWN_COLUMNS if is_checkpoint else EMBEDDED_COLUMNS)
    planned = planned_job(model, settings, is_checkpoint)
    timed = settings.time_encoder and settings.tokens_per_second is None
    gpus = machine_gpus(settings.device) if timed or settings.device == "auto" else int(settings.device == "cuda")
    announce_reading(corpus.files)
    found = list(look_into(corpus.files, corpus.columns, options, settings.limit, on_bad_file))
    inventory = take_inventory(found, settings.limit)
    sample = draw_sample(found, corpus, options, on_bad_file, settings.sample, settings.seed)
    if not sample.population:
        raise StrideformerError(f"{', '.join(settings.inputs)} holds no documents that can be read: check the path")
    lengths, estimator = measure(sample.documents, planned.model, planned.chunking), Estimator(sample)
    rate = None if settings.tokens_per_second is None else EncoderRate(settings.tokens_per_second)
    if timed:
        how = EncoderOptions(
            planned.chunking, settings.device, settings.dtype, settings.token_budget, threads_here(gpus)
        )
        rate = time_encoder(sample.documents, planned.model, planned.chunking, how, settings.seed)
    totals = totals_of(lengths, estimator, inventory)
    reasons = Counter(filter(None, lengths.chunked.column(REASON).to_pylist()))
    outlook = Outlook(
        job=planned.job,
        inventory=inventory,
        chunking=planned.chunking,
        sampled=sample.documents.num_rows,
        whole=sample.whole,
        tokens_a_document=spread(lengths.whole, lengths.fit, estimator),
        chunks_a_document=spread(lengths.asked.chunks, lengths.fit, estimator),
        reasons=dict(reasons.most_common()),
        totals=totals,
        rate=rate,
        times=times(settings, found, gpus, totals.encoded, rate),
        alternatives=compare(lengths, estimator, planned.chunking, planned.own),
    )
    print_outlook(outlook)
    report = {"settings": settings.model_dump(), **asdict(outlook), "versions": versions()}
    write_json(settings.json_file, options, report)
    return report


def announce_reading(files: Sequence[InputFile]) -> None:
    """Say it where counting the documents takes a while: a line-based file does not tell how many it has."""
    lines = sum(file.size for file in files if file.format not in READ_TO_COUNT)
    if lines > MUCH_TO_READ:
        print(
            f"Counting documents: {count(lines)}B of JSON Lines, CSV or TSV are read once, as the job does before it "
            "begins; --limit N reads the first N documents alone.",
            file=sys.stderr,
        )


def planned_job(model: str, settings: PlanSettings, is_checkpoint: bool) -> Planned:
    """The job that this model is for, checked as that job would.

    Raises:
        StrideformerError: the model is wrong, or cannot read documents as was asked.
    """
    pair = settings.pair_column is not None
    if is_checkpoint:
        checked = preflight.check_model(model, settings, settings.dtype, pair)
        return Planned("classify", checked.model, checked.chunking, checked.own)
    folder = resolve_encoder(model)
    encoder = bare_encoder(folder, settings)
    source, chunking = check_encoder(encoder, {"checkpoint": folder}, settings, settings.dtype, pair)
    return Planned("embed", source, chunking, chunking)


def totals_of(lengths: Lengths, estimator: Estimator, inventory: Inventory) -> Totals:
    """What all documents come to."""
    asked, unread = lengths.asked, sum(inventory.refused.values())
    quarantined = estimator.number(~lengths.fit)
    return Totals(
        tokens=estimator.total(asked.read),
        chunks=estimator.total(asked.chunks),
        encoded=estimator.total(asked.encoded),
        again=estimator.total(asked.again),
        truncated=estimator.number(asked.truncated),
        quarantined=Estimate(quarantined.value + unread, quarantined.low + unread, quarantined.high + unread),
    )


def spread(values: np.ndarray, fit: np.ndarray, estimator: Estimator) -> Spread | None:
    """How (documents,) values of those that are fit are spread in the whole corpus; None where none is."""
    if not fit.any():
        return None
    weights = estimator.weights[fit]
    median, p90, p99 = estimator.quantiles(np.where(fit, values, np.nan), SHARES)
    return Spread(median, float(np.average(values[fit], weights=weights)), p90, p99, int(values[fit].max()))


def times(settings: PlanSettings, found: Found, gpus: int, encoded: Estimate, rate: EncoderRate | None) -> list[Time]:
    """Shards, and hours where a rate is known, with each number of encoders that is asked about."""
    numbers = ENCODERS if settings.encoders == "auto" else tuple(map(int, settings.encoders.split(":")))
    node = {"CPU": float(os.cpu_count() or 1), "GPU": float(min(gpus, 1))}
    rows = []
    for number in dict.fromkeys(numbers):
        resources = share_out([node] * number, str(number), "cuda" if gpus else "cpu")
        plan = cut_into_shards(found, **shard_sizes(settings, resources))
        shards = len(plan.column("shard").unique())
        # an encoder without a shard has nothing to do
        speed = None if rate is None else 3600 * rate.tokens_per_second * min(number, shards)
        hours = [None if speed is None else each / speed for each in (encoded.value, encoded.low, encoded.high)]
        rows.append(Time(number, shards, *hours))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.plan``."""
    return run_command("plan", PlanSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
