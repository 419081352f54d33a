"""Identical documents of a shard are encoded and aggregated once, and labelled as they are alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.guard.isolation import self_contained
from jobs.measures import DUPLICATES, measures_of
from jobs.model_source import ModelSource
from jobs.stages.aggregate import Aggregate, EncodeAndAggregate
from jobs.stages.chunk import Chunk
from jobs.stages.encode import Encode
from strideformer import duplicates
from strideformer.chunking import ChunkViews
from tests.jobs.stages.test_stages import CHUNKING, OPTIONS, documents, source
from tests.tiny import texts

__all__ = ["source"]  # the fixture


def results(table: pa.Table) -> pa.Table:
    return table.select(["label", "score", "scores", "num_tokens", "num_chunks", "truncated", "quarantine_reason"])


@pytest.mark.parametrize("collide", [False, True])
def test_doubled_documents_are_labelled_as_alone(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch, collide: bool
) -> None:
    if collide:
        monkeypatch.setattr(duplicates, "document_keys", lambda views: np.zeros(views.num_documents, np.uint64))
    single = [text for text in dict.fromkeys(texts(8, 60)) if text.strip()]
    given = [*single, None, single[3], *single, None]
    alone = Chunk(source, CHUNKING)(documents(list(single)))
    chunked = Chunk(source, CHUNKING)(documents(list(given)))
    stage = EncodeAndAggregate(source, OPTIONS)
    expected = results(stage(alone))
    encoded: list[int] = []
    encode_views = stage.encode.encoder.encode_views

    def counting(views: ChunkViews) -> torch.Tensor:
        encoded.append(views.num_chunks)
        return encode_views(views)

    monkeypatch.setattr(stage.encode.encoder, "encode_views", counting)
    together = stage(chunked)
    assert encoded == [sum(alone.column("num_chunks").to_pylist())]
    assert measures_of(together)[DUPLICATES] == len(single) + 1
    order = [given.index(text) if text is not None else row for row, text in enumerate(given)]
    whole = results(together)
    assert whole.equals(whole.take(order))
    assert whole.slice(0, len(single)).equals(expected)
    apart = Aggregate(source, OPTIONS)(Encode(source, OPTIONS)(chunked))
    assert results(apart).equals(whole)


def test_one_by_one_each_is_labelled_as_the_one_that_it_is_like(source: ModelSource) -> None:
    given = ["court law " * 9, None, "tax", "court law " * 9, "court law " * 9]
    encoded = Encode(source, OPTIONS)(Chunk(source, CHUNKING)(documents(given)))
    assert encoded.column("_first_alike").to_pylist() == [0, 1, 2, 0, 0]
    aggregate, apart = Aggregate(source, OPTIONS), self_contained(encoded)
    alone = pa.concat_tables([aggregate(apart.slice(row, 1)) for row in range(len(given))])
    together = aggregate(encoded)
    assert results(alone).drop_columns(["score", "scores"]).equals(results(together).drop_columns(["score", "scores"]))
    expected = together.column("score").to_pylist()
    assert alone.column("score").to_pylist() == [value and pytest.approx(value, abs=1e-5) for value in expected]


def test_what_is_like_a_document_that_fails_fails_with_it(source: ModelSource) -> None:
    poison = "privacy " * 40
    chunked = Chunk(source, CHUNKING)(documents(["court law", poison, "tax", poison, "court law"]))
    stage = EncodeAndAggregate(source, OPTIONS)

    def fail_on_privacy(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if int((keywords["input_ids"] == keywords["input_ids"].mode().values[0]).sum()) > 40:
            raise ValueError("this text is poison")

    stage.encode.encoder.packed = None
    stage.encode.encoder.first_model.register_forward_pre_hook(fail_on_privacy, with_kwargs=True)
    table = stage(chunked)
    failed = "encoding_failed"
    assert table.column("quarantine_reason").to_pylist() == [None, failed, None, failed, None]
    assert table.column("quarantine_detail").to_pylist()[1] == table.column("quarantine_detail").to_pylist()[3]


def test_stages_measure_themselves(source: ModelSource, tmp_path: Path) -> None:
    stage = EncodeAndAggregate(source, OPTIONS)
    chunked = Chunk(source, CHUNKING)(documents(texts(5, 60)))
    first, second = measures_of(stage(chunked)), measures_of(stage(chunked))
    assert {"chunk", "encode", "forward", "aggregate"} <= {name for name, seconds in first.items() if seconds > 0}
    assert first["forward"] + first["copy"] <= first["encode"]
    assert 0 < first["aggregate_forward"] <= first["aggregate"]
    assert first["wait"] == 0, "nothing is waited for before the first shard"
    assert second["wait"] > 0
