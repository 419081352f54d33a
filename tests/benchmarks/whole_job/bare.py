"""The encoder alone, without Ray, on the chunks of the job's shards, tokenised beforehand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq

from tests.benchmarks.whole_job.documents import DTYPE_VARIABLE, MAX_CHUNKS, MAX_LENGTH, STRIDE, model_folder
from tests.benchmarks.whole_job.marks import encoding


def run(corpus: Path, output: Path) -> None:
    """``output`` is a job's: its shards, in the order in which they were committed, are the calls of the encoder."""
    import torch

    from strideformer.encoder import ChunkEncoder

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = ChunkEncoder.from_pretrained(
        model_folder(),
        dtype=os.environ[DTYPE_VARIABLE],
        max_length=MAX_LENGTH,
        stride=STRIDE,
        max_chunks=MAX_CHUNKS,
    )
    texts = dict(zip(*pq.read_table(corpus, columns=["doc_id", "text"]).to_pydict().values(), strict=True))
    shards = json.loads((output / "_shards.json").read_text())
    views = [encoder.chunker.views([texts[document] for document in documents]) for documents in shards]
    for shard in views:
        with encoding(chunks=shard.num_chunks):
            encoder.encode_views(shard)
