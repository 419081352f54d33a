"""A slow stand-in for the encoder, and a slow chunker: so that there is a midway to kill things in.

The stand-in imports no torch, which would cost seconds at the start of every actor of every round; all around it is
the real job.
"""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from jobs.model_source import ModelSource
from jobs.stages.chunk import Chunk
from jobs.stages.columns import read_views, with_columns
from tests.tiny import LABELS

ENCODE_SECONDS = 0.2
CHUNK_SECONDS = 0.05
INTERNAL = ("_token_ids", "_chunk_starts", "_chunk_lengths", "_first_ids")


class SlowChunk(Chunk):
    def __call__(self, documents: pa.Table) -> pa.Table:
        time.sleep(CHUNK_SECONDS)
        return super().__call__(documents)


class SlowEncodeAndAggregate:
    """Takes what EncodeAndAggregate takes, gives what it gives; the label is a function of the token ids."""

    def __init__(self, model: ModelSource, options: object) -> None:
        self.folder = model.fetch()

    def __call__(self, documents: pa.Table) -> pa.Table:
        views = read_views(documents)
        time.sleep(ENCODE_SECONDS)
        sums = np.concatenate([[0], np.cumsum(views.token_ids, dtype=np.int64)])
        sums = np.diff(sums[views.token_offsets])
        scores = np.eye(len(LABELS), dtype=np.float32)[sums % len(LABELS)]
        fields = [pa.field(name, pa.float32()) for name in LABELS]
        columns = [pa.array(np.ascontiguousarray(scores[:, index])) for index in range(len(LABELS))]
        documents = documents.drop_columns([name for name in INTERNAL if name in documents.column_names])
        return with_columns(
            documents,
            {
                "label": pa.array([LABELS[index] for index in sums % len(LABELS)]),
                "score": pa.array(np.ones(documents.num_rows, np.float32)),
                "scores": pa.StructArray.from_arrays(columns, fields=fields),
            },
        )
