from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer
from transformers.utils.logging import enable_progress_bar

from jobs import measures
from jobs.guard.isolation import emptied
from jobs.measures import DUPLICATES, measures_of
from jobs.model_source import ModelSource
from jobs.stages.chunk import Chunk
from jobs.stages.columns import flat, quarantine, read_bags
from jobs.stages.embed import Embed
from strideformer import ChunkEncoder, Chunker, ChunkViews, Strideformer
from strideformer.token_bags import TokenBags
from tests.jobs.stages.test_stages import CHUNKING, OPTIONS, documents
from tests.tiny import texts


@pytest.fixture(scope="module")
def source(tiny_checkpoint: Path) -> ModelSource:
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    return ModelSource.of({"checkpoint": tiny_checkpoint}, tokenizer.backend_tokenizer.to_str())


def test_vectors_and_spans_are_the_library_s(source: ModelSource, tiny_checkpoint: Path) -> None:
    good = texts(9, 60)
    table = Embed(source, OPTIONS)(Chunk(source, CHUNKING)(documents([*good[:4], None, *good[4:]])))
    assert table.schema.field("chunk_vectors").type == pa.large_list(pa.list_(pa.float16(), 32))
    assert not {"_token_ids", "_chunk_starts", "_chunk_lengths"} & set(table.column_names)
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, 8)
    offsets, vectors = flat(table, "chunk_vectors")
    found = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, 32)
    np.testing.assert_allclose(found, np.concatenate(encoder.encode(good)), atol=2e-3)
    views = Chunker(AutoTokenizer.from_pretrained(tiny_checkpoint), 16, 4, 8).views(good)
    for name, expected in (("chunk_starts", views.chunk_starts), ("chunk_lengths", views.chunk_lengths)):
        np.testing.assert_array_equal(flat(table, name)[1].to_numpy(), expected)
        np.testing.assert_array_equal(flat(table, name)[0], offsets)
    assert np.diff(offsets).tolist() == [*views.chunk_counts[:4], 0, *views.chunk_counts[4:]]
    stored, bags = read_bags(table), TokenBags.of(views)
    assert stored.sizes.tolist() == [*bags.sizes[:4], 0, *bags.sizes[4:]]
    assert (stored.ids.tolist(), stored.counts.tolist()) == (bags.ids.tolist(), bags.counts.tolist())


def test_identical_documents_are_encoded_once_and_each_has_the_vectors(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = list(dict.fromkeys(texts(6, 60)))
    given = [single[2], *single, None, *single[::-1]]
    embed = Embed(source, OPTIONS)
    alone = embed(Chunk(source, CHUNKING)(documents([*single])))
    encoded: list[int] = []
    encode_views = embed.encode.encoder.encode_views

    def counting(views: ChunkViews) -> torch.Tensor:
        encoded.append(views.num_chunks)
        return encode_views(views)

    monkeypatch.setattr(embed.encode.encoder, "encode_views", counting)
    table = embed(Chunk(source, CHUNKING)(documents(given)))
    assert encoded == [sum(alone.column("num_chunks").to_pylist())]
    assert measures_of(table)[DUPLICATES] == len(single) + 1
    assert "_first_alike" not in table.column_names
    rows = [row for row, text in enumerate(given) if text is not None]
    expected = alone.take([single.index(given[row]) for row in rows])
    for name in ("chunk_starts", "chunk_lengths", "num_chunks"):
        assert table.take(rows).column(name).to_pylist() == expected.column(name).to_pylist()
    # in another order the same chunk may meet other neighbours in its micro-batch
    for ours, theirs in zip(*(flat(half, "chunk_vectors")[1] for half in (table.take(rows), expected)), strict=True):
        np.testing.assert_allclose(ours.as_py(), theirs.as_py(), atol=2e-3)


def test_loading_shows_no_progress_bars(
    source: ModelSource, tiny_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They would reach the user once for every actor."""
    Strideformer.from_pretrained(tiny_checkpoint).first_model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    bare = ModelSource.of({"checkpoint": tmp_path}, tokenizer.backend_tokenizer.to_str())
    for model in (bare, source):
        enable_progress_bar()
        capfd.readouterr()
        Embed(model, OPTIONS)
        assert capfd.readouterr().err == ""


def test_a_bare_encoder_gives_what_the_checkpoint_over_it_gives(
    source: ModelSource, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    Strideformer.from_pretrained(tiny_checkpoint).first_model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    bare = ModelSource.of({"checkpoint": tmp_path}, tokenizer.backend_tokenizer.to_str())
    assert (bare.is_checkpoint(), source.is_checkpoint()) == (False, True)
    chunked = Chunk(bare, CHUNKING)(documents(texts(5, 60)))
    ours, theirs = (Embed(model, OPTIONS)(chunked).drop_columns([measures.COLUMN]) for model in (bare, source))
    assert ours.equals(theirs)


def test_what_is_left_of_a_document_that_killed_its_process_has_no_vectors(source: ModelSource) -> None:
    embed = Embed(source, OPTIONS)
    chunked = Chunk(source, CHUNKING)(documents(["law", "court law"]))
    alive, dead = embed(chunked.slice(0, 1)), embed(emptied(quarantine(chunked.slice(1), {0: ("crashed", "it died")})))
    together = pa.concat_tables([alive, dead])
    assert together.column("quarantine_reason").to_pylist() == [None, "crashed"]
    assert [len(vectors) for vectors in together.column("chunk_vectors").to_pylist()] == [1, 0]
    assert together.column("chunk_starts").to_pylist() == [[0], []]


def test_a_vector_beyond_float16_quarantines_its_document_alone(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = Embed(source, OPTIONS)
    encode_views = embed.encode.encoder.encode_views

    def overflowing(views: object) -> torch.Tensor:
        vectors = encode_views(views).clone()  # type: ignore[arg-type]
        vectors[2, 5] = 70_000.0
        return vectors

    monkeypatch.setattr(embed.encode.encoder, "encode_views", overflowing)
    table = embed(Chunk(source, CHUNKING)(documents(["law", None, "tax", "court", "union"])))
    assert table.column("quarantine_reason").to_pylist() == [None, "null_text", None, "not_finite", None]
    assert "65,504" in table.column("quarantine_detail")[3].as_py()
