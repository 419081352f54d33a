from __future__ import annotations

import numpy as np
import torch

from strideformer.chunk_batches import PackedChunks, runs_of_one_length


def packed_batch(lengths: list[int], ids: torch.Tensor) -> PackedChunks:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return PackedChunks(
        input_ids=ids,
        token_type_ids=torch.zeros_like(ids),
        positions=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        offsets=torch.from_numpy(offsets.astype(np.int32)),
        num_chunks=len(lengths),
        longest=max(lengths),
        full=len(set(lengths)) == 1,
        runs=runs_of_one_length(np.array(lengths)),
    )
