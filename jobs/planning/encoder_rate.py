"""How fast one encoder is on this machine, timed on chunks of the sample, in the stage that the job runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from jobs.model_source import ModelSource
from jobs.planning.lengths import measure
from jobs.resources import share_out
from jobs.stages.aggregate import EncodeAndAggregate
from jobs.stages.chunk import Chunking
from jobs.stages.columns import read_views
from jobs.stages.encode import Encode, EncoderOptions
from strideformer.duplicates import first_alike
from strideformer.errors import StrideformerError

SECONDS = 8.0
# Of a document, for timing: with many more, one alone would take long.
MOST_CHUNKS = 64
WARM_UP_CHUNKS = 16
MOST_GROWTH = 8


@dataclass(frozen=True)
class EncoderRate:
    """Tokens that one encoder takes in a second, special ones and those of the overlap counted each time.

    Attributes:
        device, dtype, threads: what it was timed on; None where the rate was given.
        chunks, seconds: how many it took, and for how long.
    """

    tokens_per_second: float
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    chunks: int = 0
    seconds: float = 0.0


def machine_gpus(device: str) -> int:
    """GPUs of this machine that a job would use.

    Raises:
        StrideformerError: CUDA is asked for where there is none.
    """
    import torch

    gpus = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if device == "cuda" and not gpus:
        raise StrideformerError(
            "device cuda was asked for but torch sees no CUDA GPU to time here: give --tokens-per-second, or "
            "--no-time-encoder"
        )
    return gpus


def time_encoder(
    documents: pa.Table, model: ModelSource, chunking: Chunking, options: EncoderOptions, seed: int
) -> EncoderRate | None:
    """Encode (and of a checkpoint aggregate) more and more of the documents, until it takes long enough to be timed.

    Args:
        documents: as the job's read stage gives them.
        options: of the encoder; its threads are those that it would have on a machine like this.

    Returns:
        None where no document has anything to encode.
    """
    limited = replace(chunking, max_chunks=min(chunking.max_chunks, MOST_CHUNKS))
    lengths = measure(documents, model, limited)
    # The stage encodes one of identical documents, so of the others nothing is to be counted.
    different = first_alike(read_views(lengths.chunked)) == np.arange(documents.num_rows)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(different & (lengths.asked.chunks > 0)))
    if not len(order):
        return None
    stage = (EncodeAndAggregate if model.is_checkpoint() else Encode)(model, replace(options, chunking=limited))
    encoder = stage.encode.encoder if isinstance(stage, EncodeAndAggregate) else stage.encoder
    chunks, tokens = (np.cumsum(each[order]) for each in (lengths.asked.chunks, lengths.asked.encoded))

    def timed(number: int) -> float:
        some = lengths.chunked.take(pa.array(order[:number]))
        started = time.perf_counter()
        stage(some)
        return time.perf_counter() - started

    goal = float(WARM_UP_CHUNKS)
    timed(_documents(chunks, goal))
    while True:
        number = _documents(chunks, goal)
        seconds = timed(number)
        if number == len(order) or seconds >= SECONDS / 2:
            break
        goal *= min(max(SECONDS / max(seconds, 1e-9), 2), MOST_GROWTH)
    rounds = 1
    while seconds < SECONDS / 2:  # all of them are done too soon: again
        seconds += timed(number)
        rounds += 1
    return EncoderRate(
        tokens_per_second=rounds * int(tokens[number - 1]) / seconds,
        device=_name(encoder.device),
        dtype="int8" if encoder.int8 else str(encoder.dtype).removeprefix("torch."),
        threads=options.threads if encoder.device.type == "cpu" else None,
        chunks=rounds * int(chunks[number - 1]),
        seconds=round(seconds, 3),
    )


def threads_here(gpus: int) -> int:
    """Threads of one encoder of a job on this machine."""
    return share_out([{"CPU": os.cpu_count() or 1, "GPU": gpus}]).threads


def _documents(chunks: np.ndarray, goal: float) -> int:
    """How many documents, one at least, have so many chunks."""
    return min(int(np.searchsorted(chunks, goal)) + 1, len(chunks))


def _name(device: object) -> str:
    import torch

    found = torch.device(str(device))
    return torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
