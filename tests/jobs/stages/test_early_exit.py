"""Early exit in the stage: fewer chunks are encoded, and every document is accounted for as without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.measures import DUPLICATES, measures_of
from jobs.model_source import ModelSource
from jobs.stages.aggregate import EncodeAndAggregate
from jobs.stages.chunk import Chunk, Chunking
from jobs.stages.columns import read_views
from jobs.stages.encode import EncoderOptions
from strideformer.chunking import ChunkViews
from strideformer.early_exit import FIRST_ROUND, reading_order
from strideformer.errors import StrideformerError
from strideformer.token_bags import TokenBags
from tests.jobs.stages.test_stages import documents, fail_aggregation, source, source_of
from tests.tiny import save_tiny_checkpoint, texts

__all__ = ["source"]  # the fixture

COLUMNS = ["label", "score", "num_tokens", "num_chunks", "chunks_encoded", "truncated", "quarantine_reason"]
# About half of these documents are that sure by their first eight chunks.
CONFIDENCE = 0.7
CHUNKING = Chunking(max_length=16, stride=4, max_chunks=32)
OPTIONS = EncoderOptions(CHUNKING, device="cpu", dtype="float32", threads=2)
EARLY = replace(OPTIONS, early_exit=CONFIDENCE)


def rows(table: pa.Table) -> list[dict[str, object]]:
    return [dict(row) for row in table.select(COLUMNS).to_pylist()]


def test_a_confidence_out_of_reach_changes_nothing(source: ModelSource) -> None:
    chunked = Chunk(source, CHUNKING)(documents([*texts(9, 60), None, "law"]))
    whole = EncodeAndAggregate(source, OPTIONS)(chunked)
    assert "chunks_encoded" not in whole.column_names
    whole = whole.append_column("chunks_encoded", whole.column("num_chunks"))
    stage = EncodeAndAggregate(source, replace(OPTIONS, early_exit=1.1))
    for found, expected in zip(rows(stage(chunked)), rows(whole), strict=True):
        assert found.pop("score") == pytest.approx(expected.pop("score"), abs=1e-4)
        assert found == expected


@pytest.mark.parametrize("bags", [False, True])
def test_documents_stop_when_they_are_sure_and_say_what_was_read(tmp_path: Path, bags: bool) -> None:
    source = source_of(save_tiny_checkpoint(tmp_path, bag_of_tokens=bags))
    chunked = Chunk(source, CHUNKING)(documents([*texts(40, 200), None, "law"]))
    stage = EncodeAndAggregate(source, EARLY)
    encoder, views = stage.encode.encoder, read_views(chunked)
    found = rows(stage(chunked))
    vectors = encoder.encode_views(views)
    tokens_of = TokenBags.of(views) if bags else None
    stopped = 0
    for document, row in enumerate(found):
        count, start = int(views.chunk_counts[document]), int(views.chunk_offsets[document])
        if not count:
            assert (row["num_tokens"], row["chunks_encoded"], row["quarantine_reason"]) == (0, 0, "null_text")
            continue
        of_document = vectors[start : start + count].half()
        for read in (FIRST_ROUND, 2 * FIRST_ROUND, 4 * FIRST_ROUND):
            few = np.isin(np.arange(count), reading_order(count)[:read])
            own = None if tokens_of is None else tokens_of.between(document, document + 1)
            logits = stage.aggregate.aggregator(of_document, np.array([0, count]), few, own).logits
            scores = stage.aggregate.labels.scores(logits)
            if scores.max() >= CONFIDENCE or read >= count:
                break
        tokens: set[int] = set()
        for chunk in np.flatnonzero(few) + start:
            tokens |= set(range(views.chunk_starts[chunk], views.chunk_starts[chunk] + views.chunk_lengths[chunk]))
        stopped += not few.all()
        assert (row["chunks_encoded"], row["num_tokens"], row["num_chunks"]) == (few.sum(), len(tokens), count)
        assert row["score"] == pytest.approx(scores.max(), abs=1e-4)
    assert stopped > 3
    assert bags or stopped < sum(views.chunk_counts > FIRST_ROUND)


def test_identical_documents_are_still_encoded_once(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    once = texts(12, 200, seed=9)
    chunked = Chunk(source, CHUNKING)(documents([*once, None, *once]))
    stage = EncodeAndAggregate(source, EARLY)
    encoded: list[int] = []
    encode_views = stage.encode.encoder.encode_views

    def counting(views: ChunkViews, chunks: np.ndarray) -> torch.Tensor:
        encoded.append(len(chunks))
        return encode_views(views, chunks)

    monkeypatch.setattr(stage.encode.encoder, "encode_views", counting)
    table = stage(chunked)
    found = rows(table)
    assert found[:12] == found[13:]
    assert len(encoded) > 1
    assert sum(encoded) == sum(row["chunks_encoded"] for row in found[:12])  # type: ignore[misc]
    assert measures_of(table)[DUPLICATES] == 12


def test_a_document_that_fails_in_a_later_round_is_set_aside_alone(source: ModelSource) -> None:
    given = [*texts(20, 200), "court law " * 30 + "zz " * 3 + "tax " * 30]
    chunked = Chunk(source, CHUNKING)(documents(given))
    stage = EncodeAndAggregate(source, EARLY)
    expected = rows(stage(chunked))
    views = read_views(chunked)
    poison = views.token_ids[views.token_offsets[-2] + 60]

    def fail_on_poison(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if bool((keywords["input_ids"] == int(poison)).any()):
            raise ValueError("this text is poison")

    stage.early_exit = 1.1
    stage.encode.encoder.packed = None
    stage.encode.encoder.first_model.register_forward_pre_hook(fail_on_poison, with_kwargs=True)
    reasons = [row["quarantine_reason"] for row in rows(stage(chunked))]
    assert reasons == [None] * 20 + ["encoding_failed"]
    # Whoever is sure before the poisoned chunk is read never meets it.
    stage.early_exit = 0.34
    assert [row["label"] for row in rows(stage(chunked))][:1] == [expected[0]["label"]]


def test_faults_of_the_aggregator_are_told_apart_as_without_it(source: ModelSource) -> None:
    stage = EncodeAndAggregate(source, EARLY)
    chunked = Chunk(source, CHUNKING)(documents(["court law", "privacy " * 90, "tax", None]))
    stage.early_exit = 1.1
    fail_aggregation(stage.aggregate.aggregator.model, FIRST_ROUND + 1, ValueError("poison"))
    reasons = [row["quarantine_reason"] for row in rows(stage(chunked))]
    assert reasons == [None, "aggregation_failed", None, "null_text"]
    fail_aggregation(stage.aggregate.aggregator.model, 1, RuntimeError("broken model"))
    with pytest.raises(StrideformerError, match=r"every document of a shard failed in the aggregator.*broken model"):
        stage(chunked)


def test_an_empty_shard_of_quarantined_rows_passes(source: ModelSource) -> None:
    table = EncodeAndAggregate(source, EARLY)(Chunk(source, CHUNKING)(documents([None, None])))
    assert table.column("chunks_encoded").type == pa.int32()
    assert table.column("quarantine_reason").to_pylist() == ["null_text"] * 2
