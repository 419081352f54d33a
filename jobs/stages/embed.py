"""The last stage of the embed job: chunk views to chunk vectors that are kept, with where each chunk lies."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from jobs.model_source import ModelSource
from jobs.stages.columns import REASON, quarantine, ragged, with_columns
from jobs.stages.encode import Encode, EncoderOptions


class Embed:
    """Chunk views → chunk vectors and spans to be stored, for one whole shard.

    Needs   _token_ids, _chunk_starts, _chunk_lengths (and _first_ids of pairs), as Chunk adds them
    Adds    chunk_vectors: large_list<fixed_size_list<float16, hidden_size>>; chunk_starts, chunk_lengths:
            large_list<int32>, in tokens, counted from the document's first and without special tokens
    Drops   what it needs
    Quarantines documents that the encoder fails on, with reason ``encoding_failed``, and those of which a vector
    is not finite in float16, with reason ``not_finite``, as the aggregator's logits would be.
    """

    def __init__(self, model: ModelSource, options: EncoderOptions) -> None:
        self.encode = Encode(model, options)

    def __call__(self, documents: pa.Table) -> pa.Table:
        spans = {name: documents.column(f"_{name}") for name in ("chunk_starts", "chunk_lengths")}
        documents, vectors, chunk_offsets = self.encode.encode(documents)
        half = vectors.half()
        infinite = ~torch.isfinite(half).all(dim=1).cpu().numpy()
        counts = np.diff(chunk_offsets)
        rows = np.unique(np.repeat(np.arange(len(counts)), counts)[infinite])
        unmarked = documents.column(REASON).is_null().to_numpy()
        failures = {
            int(row): ("not_finite", "a chunk vector of this document is NaN, or beyond the 65,504 of float16")
            for row in rows
            if unmarked[row]
        }
        flat = pa.array(half.cpu().numpy().reshape(-1), pa.float16())
        stored = ragged(chunk_offsets, pa.FixedSizeListArray.from_arrays(flat, self.encode.encoder.hidden_size))
        return with_columns(quarantine(documents, failures), {"chunk_vectors": stored, **spans})
