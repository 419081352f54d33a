from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer import chunk_batches
from strideformer.chunk_batches import ChunkAssembler, SortedChunks
from strideformer.chunking import Chunker
from strideformer.encoder import load_tokenizer
from tests.tiny import texts

CPU = torch.device("cpu")


@pytest.mark.parametrize("pair", [False, True])
def test_a_micro_batch_is_the_same_whatever_slab_it_is_cut_from(
    pair: bool, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunker = Chunker(load_tokenizer(tiny_checkpoint), 12, 3, 8)
    views = chunker.views(["law"] * 20, texts(20)) if pair else chunker.views(texts(20))
    assembler = ChunkAssembler(chunker.template(pair), 0, CPU)
    padded = SortedChunks(views, assembler.template, CPU)
    number = len(padded.lengths)
    for tokens in (1, 50, 1 << 20):
        monkeypatch.setattr(chunk_batches, "SLAB_TOKENS", tokens)
        chunks = SortedChunks(views, assembler.template, CPU)
        # The second range again in halves, as when the memory was too small for it.
        for start, end in [(0, 3), (3, 10), (3, 6), (6, 10), (10, number)]:
            packed, grid = assembler.packed(chunks, start, end), assembler.padded(padded, start, end)
            there = grid.get("attention_mask", torch.ones_like(grid["input_ids"])).bool()
            assert torch.equal(packed.input_ids, grid["input_ids"][there])
            assert torch.equal(packed.token_type_ids, grid["token_type_ids"][there])
            places = there.nonzero()
            assert torch.equal(packed.rows, places[:, 0])
            assert torch.equal(packed.positions, places[:, 1])
            np.testing.assert_array_equal(packed.offsets.diff(), padded.lengths[start:end])
            assert packed.offsets.dtype == torch.int32
