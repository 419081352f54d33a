"""The stages as what they are: functions of an Arrow table, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer

from jobs import measures
from jobs.model_source import ModelSource
from jobs.stages.aggregate import Aggregate, EncodeAndAggregate
from jobs.stages.chunk import Chunk, Chunking, load_chunker
from jobs.stages.columns import bisect, quarantine, read_views
from jobs.stages.encode import Encode, EncoderOptions
from strideformer import Chunker, Pipeline
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_checkpoint, texts

CHUNKING = Chunking(max_length=16, stride=4, max_chunks=8)
OPTIONS = EncoderOptions(CHUNKING, device="cpu", dtype="float32", threads=2)


@pytest.fixture(scope="module")
def source(tiny_checkpoint: Path) -> ModelSource:
    return source_of(tiny_checkpoint)


def source_of(checkpoint: Path) -> ModelSource:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return ModelSource.of({"checkpoint": checkpoint}, tokenizer.backend_tokenizer.to_str())


def documents(given: list[str | None], pairs: list[str] | None = None) -> pa.Table:
    """A shard as the read stage gives it; None is a document that it quarantined."""
    table = pa.table(
        {
            "doc_id": [str(index) for index in range(len(given))],
            "_text": pa.array(given, pa.large_string()),
            "quarantine_reason": pa.array([None if text is not None else "null_text" for text in given], pa.string()),
            "quarantine_detail": pa.array([None if text is not None else "it is null" for text in given], pa.string()),
        }
    )
    return table if pairs is None else table.append_column("_text_pair", pa.array(pairs, pa.large_string()))


def test_chunk_gives_the_chunker_s_views_and_leaves_quarantined_rows_empty(
    source: ModelSource, tiny_checkpoint: Path
) -> None:
    good = texts(12, 60)
    given = [None, *good[:5], None, *good[5:], None]
    table = Chunk(source, CHUNKING)(documents(given))
    views, expected = read_views(table), Chunker(AutoTokenizer.from_pretrained(tiny_checkpoint), 16, 4, 8).views(good)
    np.testing.assert_array_equal(views.token_ids, expected.token_ids)
    np.testing.assert_array_equal(views.chunk_starts, expected.chunk_starts)
    filled = [index for index, text in enumerate(given) if text is not None]
    np.testing.assert_array_equal(views.chunk_counts[filled], expected.chunk_counts)
    assert views.chunk_counts.sum() == expected.chunk_counts.sum()
    assert table.column("num_tokens").to_numpy()[filled].tolist() == expected.num_tokens.tolist()
    assert table.schema.field("_token_ids").type == pa.large_list(pa.uint16())
    assert "_text" not in table.column_names


def test_which_tokenizer_made_the_ids_is_measured(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Chunk(source, CHUNKING)(documents(["court law", None, "tax"]))
    found = measures.measures_of(table)
    assert (found[measures.SEGMENTS], found[measures.SEGMENTS_FAST]) == (2, 0)
    assert measures.FAST_OFF not in found
    status = load_chunker(source, CHUNKING).fast_status
    monkeypatch.setattr(status, "state", "off")
    monkeypatch.setattr(status, "reason", "its ids differed")
    again = measures.measures_of(Chunk(source, CHUNKING)(documents(["court law"])))
    assert (again[measures.SEGMENTS], again[measures.FAST_OFF]) == (1, "its ids differed")


def test_a_token_crosses_in_two_bytes(source: ModelSource) -> None:
    table = Chunk(source, CHUNKING)(documents(["court law " * 5000]))
    tokens = table.column("num_tokens")[0].as_py()
    assert table.select(["_token_ids"]).nbytes <= 2 * tokens + 64


def test_a_document_that_the_tokenizer_refuses_is_set_aside_alone(source: ModelSource) -> None:
    table = Chunk(source, CHUNKING)(documents(["a", "law", "union " * 20, "tax"], ["court"] * 4))
    assert table.column("quarantine_reason").to_pylist() == [None, None, "chunking_failed", None]
    longer = Chunk(source, CHUNKING)(documents(["a", "union " * 20, "tax"], ["court " * 30] * 3))
    assert longer.column("quarantine_reason").to_pylist() == [None, "chunking_failed", None]
    assert "20 tokens" in longer.column("quarantine_detail")[1].as_py()
    assert longer.column("num_chunks").to_pylist()[1] == 0


def test_a_document_without_a_token_is_set_aside_and_changes_no_other(source: ModelSource) -> None:
    given = ["court law tax", "\x00\x01", "union " * 20, "\u200b\u200b", "\ufffd"]
    table = Chunk(source, CHUNKING)(documents(given))
    assert table.column("quarantine_reason").to_pylist() == [None, "empty_text", None, "empty_text", "empty_text"]
    assert table.column("num_chunks").to_pylist() == [1, 0, 2, 0, 0]
    alone = Chunk(source, CHUNKING)(documents([given[0], given[2]]))
    for name in ("_token_ids", "_chunk_starts", "_chunk_lengths", "num_tokens"):
        assert table.column(name).take([0, 2]).to_pylist() == alone.column(name).to_pylist()
    pair = Chunk(source, CHUNKING)(documents(["a", "law"], ["court", "\x00"]))
    assert pair.column("quarantine_reason").to_pylist() == [None, "empty_text"]


@pytest.mark.parametrize("bags", [False, True])
def test_both_ways_through_the_actors_give_the_pipeline_s_labels(tmp_path: Path, bags: bool) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path, bag_of_tokens=bags)
    source = source_of(checkpoint)
    given = [*texts(9, 60), None, "law", texts(9, 60)[3]]
    chunked = Chunk(source, CHUNKING)(documents(given))
    together = EncodeAndAggregate(source, OPTIONS)(chunked)
    vectors = Encode(source, OPTIONS)(chunked)
    assert vectors.schema.field("_chunk_vectors").type == pa.large_list(pa.list_(pa.float16(), 32))
    assert ("_token_bag_ids" in vectors.column_names) == bags
    apart = Aggregate(source, OPTIONS)(vectors)
    measured = [measures.COLUMN, "label"]
    assert together.drop_columns(measured).equals(apart.drop_columns(measured))
    pipeline = Pipeline(checkpoint, device="cpu", dtype="float32")
    expected = pipeline([text for text in given if text is not None])
    labels = [
        label for label, text in zip(together.column("label").to_pylist(), given, strict=True) if text is not None
    ]
    assert labels == [prediction.label for prediction in expected]
    assert [name for name in together.column_names if name.startswith("_")] == [measures.COLUMN]


def test_an_empty_shard_of_quarantined_rows_passes(source: ModelSource) -> None:
    chunked = Chunk(source, CHUNKING)(documents([None, None]))
    table = EncodeAndAggregate(source, OPTIONS)(chunked)
    assert table.num_rows == 2
    assert table.column("quarantine_reason").to_pylist() == ["null_text"] * 2


def test_a_document_that_the_encoder_fails_on_is_set_aside_alone(source: ModelSource) -> None:
    chunked = Chunk(source, CHUNKING)(documents(["court law", "privacy " * 40, "tax", "union"]))
    stage = EncodeAndAggregate(source, OPTIONS)
    expected = stage(chunked)

    def fail_on_privacy(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if int((keywords["input_ids"] == keywords["input_ids"].mode().values[0]).sum()) > 40:
            raise ValueError("this text is poison")

    packed, stage.encode.encoder.packed = stage.encode.encoder.packed, None
    hook = stage.encode.encoder.first_model.register_forward_pre_hook(fail_on_privacy, with_kwargs=True)
    table = stage(chunked)
    hook.remove()
    stage.encode.encoder.packed = packed
    assert table.column("quarantine_reason").to_pylist() == [None, "encoding_failed", None, None]
    assert table.column("quarantine_detail")[1].as_py() == "this text is poison"
    keep = pa.array([True, False, True, True])
    assert table.filter(keep).column("label").equals(expected.filter(keep).column("label"))


@pytest.mark.parametrize("message", ["CUDA error: an illegal memory access was encountered", "broken model"])
def test_a_fault_that_is_not_the_documents_stops_the_job(source: ModelSource, message: str) -> None:
    chunked = Chunk(source, CHUNKING)(documents(["court", "law", "tax"]))
    stage = EncodeAndAggregate(source, OPTIONS)

    def fail(module: object, arguments: object) -> None:
        raise RuntimeError(message)

    packed, stage.encode.encoder.packed = stage.encode.encoder.packed, None
    hook = stage.encode.encoder.first_model.register_forward_pre_hook(fail)
    with pytest.raises((RuntimeError, StrideformerError), match=message):
        stage(chunked)
    hook.remove()
    stage.encode.encoder.packed = packed


def test_an_encoder_on_a_cpu_keeps_the_memory_that_it_frees(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("jobs.stages.encode.keep_freed_memory", lambda: kept.append(True))
    Encode(source, OPTIONS)
    assert kept


def test_logits_that_are_not_finite_are_never_a_label(source: ModelSource) -> None:
    chunked = Chunk(source, CHUNKING)(documents(["court", "law", "tax"]))
    vectors = Encode(source, OPTIONS)(chunked)
    flat = vectors.column("_chunk_vectors").combine_chunks().values.flatten().to_numpy(zero_copy_only=False).copy()
    flat[32] = np.nan
    broken = pa.LargeListArray.from_arrays(
        pa.array([0, 1, 2, 3], pa.int64()), pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), 32)
    )
    table = Aggregate(source, OPTIONS)(
        vectors.set_column(vectors.column_names.index("_chunk_vectors"), "_chunk_vectors", broken)
    )
    assert table.column("quarantine_reason").to_pylist() == [None, "not_finite", None]


def fail_aggregation(model: Any, chunks: int, error: Exception) -> None:
    """Make the second model fail on documents of so many chunks and more."""
    original = type(model).aggregate

    def aggregate(vectors: torch.Tensor, counts: torch.Tensor, *in_part: torch.Tensor, **more: Any) -> object:
        if int(counts.max()) >= chunks:
            raise error
        return original(model, vectors, counts, *in_part, **more)

    model.aggregate = aggregate


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("this one is poison"), "aggregation_failed"), (torch.OutOfMemoryError("full"), "out_of_memory")],
)
def test_a_document_that_the_aggregator_fails_on_is_set_aside_alone(
    source: ModelSource, error: Exception, reason: str
) -> None:
    chunked = Chunk(source, CHUNKING)(documents(["court law", "privacy " * 60, "tax", None, "union"]))
    stage = EncodeAndAggregate(source, OPTIONS)
    expected = stage(chunked)
    fail_aggregation(stage.aggregate.aggregator.model, 5, error)
    table = stage(chunked)
    assert table.column("quarantine_reason").to_pylist() == [None, reason, None, "null_text", None]
    keep = pa.array([True, False, True, False, True])
    assert table.filter(keep).column("label").equals(expected.filter(keep).column("label"))


def test_a_fault_of_the_aggregator_s_own_stops_the_job(source: ModelSource) -> None:
    stage = EncodeAndAggregate(source, OPTIONS)
    chunked = Chunk(source, CHUNKING)(documents(["court", "law", None]))
    fail_aggregation(stage.aggregate.aggregator.model, 1, RuntimeError("broken model"))
    with pytest.raises(StrideformerError, match=r"every document of a shard failed in the aggregator.*broken model"):
        stage(chunked)
    fail_aggregation(stage.aggregate.aggregator.model, 1, RuntimeError("CUDA error: device-side assert"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        stage(chunked)


def test_a_document_too_large_for_the_device_is_set_aside_alone(source: ModelSource) -> None:
    chunked = Chunk(source, CHUNKING)(documents(["law", "privacy " * 60, "tax"]))
    stage = EncodeAndAggregate(source, OPTIONS)

    def full(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if keywords["input_ids"].shape[1] == CHUNKING.max_length:
            raise torch.OutOfMemoryError("CUDA out of memory")

    stage.encode.encoder.packed = None
    hook = stage.encode.encoder.first_model.register_forward_pre_hook(full, with_kwargs=True)
    table = stage(chunked)
    hook.remove()
    assert table.column("quarantine_reason").to_pylist() == [None, "out_of_memory", None]
    assert "does not fit the device's memory" in table.column("quarantine_detail")[1].as_py()


def test_bisect_finds_every_failing_row_and_runs_all_others() -> None:
    done: list[int] = []
    failures: list[int] = []

    def work(start: int, end: int) -> None:
        if {3, 4, 17} & set(range(start, end)):
            raise ValueError
        done.extend(range(start, end))

    bisect(0, 20, work, lambda row, error: failures.append(row))
    assert failures == [3, 4, 17]
    assert sorted(done + failures) == list(range(20))


def test_the_first_reason_stays() -> None:
    table = quarantine(documents(["a", None]), {0: ("late", "x" * 999), 1: ("late", "y")})
    assert table.column("quarantine_reason").to_pylist() == ["late", "null_text"]
    assert len(table.column("quarantine_detail")[0].as_py()) == 300
