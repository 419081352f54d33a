"""The last stage of the embed job: chunk views to chunk vectors that are kept, with where each chunk lies.

torch is imported where it is used: the driver names the stages and must not wait for it.
"""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from jobs.model_source import ModelSource
from jobs.stages.columns import REASON, bag_columns, flat, quarantine, ragged, with_columns
from jobs.stages.encode import Encode, EncoderOptions
from strideformer.duplicates import chunks_with_repetitions


class Embed:
    """Chunk views → chunk vectors and spans to be stored, for one whole shard.

    Needs   _token_ids, _chunk_starts, _chunk_lengths (and _first_ids of pairs), as Chunk adds them
    Adds    chunk_vectors: large_list<fixed_size_list<float16, hidden_size>>; chunk_starts, chunk_lengths:
            large_list<int32>, in tokens, counted from the document's first and without special tokens;
            token_bag_ids: large_list<uint32>, token_bag_counts: large_list<int32>: its different tokens, and how often
            it has each;
            measures: as Encode
    Drops   what it needs
    Quarantines documents as Encode does, and those of which a vector is not finite in float16, with reason
    ``not_finite``, as the aggregator's logits would be.

    Identical documents are encoded once, and each is given the vectors: a row of the store needs no other.
    """

    def __init__(self, model: ModelSource, options: EncoderOptions) -> None:
        self.encode = Encode(model, options, bags=True)

    def __call__(self, documents: pa.Table) -> pa.Table:
        spans = {name: documents.column(f"_{name}") for name in ("chunk_starts", "chunk_lengths")}
        chunk_offsets = flat(documents, "_chunk_starts")[0]
        shard = self.encode.begin(documents)
        self.encode.fill(shard)
        counts = np.diff(chunk_offsets)
        half = self.encode.fetch(shard)[chunks_with_repetitions(shard.first, shard.views.chunk_offsets, counts)]
        documents = self.encode.end(shard)
        infinite = ~np.isfinite(half).all(axis=1)
        rows = np.unique(np.repeat(np.arange(len(counts)), counts)[infinite])
        unmarked = documents.column(REASON).is_null().to_numpy()
        failures = {
            int(row): ("not_finite", "a chunk vector of this document is NaN, or beyond the 65,504 of float16")
            for row in rows
            if unmarked[row]
        }
        values = pa.array(half.reshape(-1), pa.float16())
        stored = ragged(chunk_offsets, pa.FixedSizeListArray.from_arrays(values, self.encode.encoder.hidden_size))
        documents = quarantine(documents.drop_columns(["_first_alike"]), failures)
        self.encode.ended = time.perf_counter()
        assert shard.bags is not None
        return with_columns(documents, {"chunk_vectors": stored, **spans, **bag_columns(shard.bags)})
