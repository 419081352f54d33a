"""The embed job end to end, and classify over its store, on a real Ray cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from jobs import classify, embed
from jobs.embeddings.store import ENCODER_KEY, EmbeddingStore
from jobs.settings import ClassifySettings, EmbedSettings
from strideformer import ChunkEncoder, Chunker
from strideformer.errors import StrideformerError
from tests.integration.test_classify import labelled, quarantined, settings
from tests.tiny import save_tiny_checkpoint, write_corpus

pytestmark = pytest.mark.usefixtures("ray_cluster")


def embedding(inputs: Path, output: Path, model: Path, **more: Any) -> EmbedSettings:
    defaults: dict[str, Any] = {"encoders": "1", "progress": "none", "device": "cpu", "dtype": "float32"}
    return EmbedSettings(inputs=[str(inputs)], output=str(output), model=str(model), **(defaults | more))


def over_store(store: Path, output: Path, model: Path, **more: Any) -> ClassifySettings:
    defaults: dict[str, Any] = {"encoders": "1", "progress": "none", "device": "cpu", "dtype": "float32"}
    return ClassifySettings(embeddings=str(store), output=str(output), model=str(model), **(defaults | more))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 documents, three of which cannot be read, the whole of one shard among them."""
    file = tmp_path_factory.mktemp("corpus") / "a.parquet"
    write_corpus(file, 24)
    table = pq.read_table(file)
    texts = table.column("text").to_pylist()
    texts[3], texts[8], texts[9] = None, "", None
    pq.write_table(table.set_column(1, "text", pa.array(texts, pa.string())), file, row_group_size=2)
    return file


@pytest.fixture(scope="module")
def store(ray_cluster: None, corpus: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("store") / "out"
    embed.run(
        embedding(corpus, output, tiny_checkpoint, id_column="doc_id", keep_columns=["topic", "text"], shard_rows=2)
    )
    return output


def test_the_store_holds_the_library_s_vectors_and_names_its_encoder(store: Path, tiny_checkpoint: Path) -> None:
    totals = json.loads((store / "_SUCCESS").read_text())
    assert (totals["documents"], totals["embedded"], totals["quarantined"]) == (24, 21, 3)
    opened = EmbeddingStore.open(str(store))
    assert opened.encoder.to_dict() == totals["encoder"]
    assert opened.encoder.hash == totals["encoder_hash"]
    assert json.loads((store / "_strideformer" / "job.json").read_text())["encoder_hash"] == totals["encoder_hash"]
    parts = sorted(store.glob("part-*.parquet"))
    assert {pq.read_schema(part).metadata[ENCODER_KEY].decode() for part in parts} == {totals["encoder_hash"]}
    assert 0 in {pq.read_metadata(part).num_rows for part in parts}, "the test needs a shard that is quarantined whole"
    assert opened.total.reasons == {"null_text": 2, "empty_text": 1}

    documents = opened.documents(["topic", "text", "chunk_starts", "chunk_lengths", "num_tokens"])
    texts = documents.columns.column("text").to_pylist()
    assert documents.columns.column("topic").to_pylist() == [i % 7 for i in range(24) if i not in (3, 8, 9)]
    vectors = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, 8).encode(texts)
    assert documents.chunk_vectors.dtype == np.float16
    np.testing.assert_allclose(documents.chunk_vectors, np.concatenate(vectors), atol=2e-3)
    views = Chunker(AutoTokenizer.from_pretrained(tiny_checkpoint), 16, 4, 8).views(texts)
    np.testing.assert_array_equal(documents.chunk_offsets, views.chunk_offsets)
    starts = np.concatenate(documents.columns.column("chunk_starts").to_pylist())
    np.testing.assert_array_equal(starts, views.chunk_starts)
    assert documents.columns.column("num_tokens").to_pylist() == views.num_tokens.tolist()
    embedded = documents.embedded(torch.arange(21))
    given = embedded.features(5, np.arange(embedded.chunk_counts[5]))["chunk_vectors"]
    first, last = documents.chunk_offsets[5:7]
    np.testing.assert_array_equal(given.numpy(), documents.chunk_vectors[first:last])


def test_labels_over_a_store_are_those_of_the_texts(
    tmp_path: Path, corpus: Path, store: Path, tiny_checkpoint: Path
) -> None:
    keep: dict[str, Any] = {"keep_columns": ["topic:subject"]}
    from_texts = classify.run(settings(corpus, tmp_path / "texts", tiny_checkpoint, id_column="doc_id", **keep))
    from_store = classify.run(over_store(store, tmp_path / "store", tiny_checkpoint, **keep))
    expected, found = labelled(tmp_path / "texts"), labelled(tmp_path / "store")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.pop("scores") == pytest.approx(theirs.pop("scores"), abs=1e-3)
        assert ours.pop("score") == pytest.approx(theirs.pop("score"), abs=1e-3)
        assert ours == theirs
    assert len({row["label"] for row in found}) > 1
    assert quarantined(tmp_path / "store") == quarantined(tmp_path / "texts")
    changing = ("seconds", "finished_at", "shards")
    assert {k: v for k, v in from_store.items() if k not in changing} == {
        k: v for k, v in from_texts.items() if k not in changing
    }


def test_only_what_is_missing_is_embedded_and_labelled_again(
    tmp_path: Path, corpus: Path, tiny_checkpoint: Path
) -> None:
    call = embedding(corpus, tmp_path / "store", tiny_checkpoint, shard_rows=8)
    first = embed.run(call)
    for name, run, resume, output in (
        ("embed", embed.run, call.model_copy(update={"resume": True}), tmp_path / "store"),
        (
            "classify",
            classify.run,
            over_store(tmp_path / "store", tmp_path / "out", tiny_checkpoint, resume=True),
            tmp_path / "out",
        ),
    ):
        totals: dict[str, Any] = first if name == "embed" else classify.run(resume)
        before = ds.dataset(str(output), format="parquet").to_table()
        parts = sorted(output.glob("part-*.parquet"))
        parts[1].unlink()
        parts[2].write_bytes(parts[2].read_bytes()[:100])
        (output / "_SUCCESS").unlink()
        if name == "embed":
            with pytest.raises(StrideformerError, match=r"no finished store of embeddings: finish it with --resume"):
                EmbeddingStore.open(str(output))
        kept = {part: part.stat().st_mtime_ns for part in parts if part not in parts[1:3]}
        of_a_run = {"seconds": 0, "finished_at": ""}
        assert run(resume) | of_a_run == totals | of_a_run
        assert {part: part.stat().st_mtime_ns for part in kept} == kept
        assert ds.dataset(str(output), format="parquet").to_table().equals(before)
    with pytest.raises(StrideformerError, match="stride was 4 and is now 5"):
        embed.run(call.model_copy(update={"resume": True, "stride": 5}))


def test_a_store_of_another_encoder_is_refused(tmp_path: Path, store: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(StrideformerError, match="stride is 4 in the store and 5 in the model"):
        classify.run(over_store(store, tmp_path / "out", tiny_checkpoint, stride=5))
    normalized = save_tiny_checkpoint(tmp_path / "normalized", normalize_embeddings=True)
    with pytest.raises(StrideformerError, match="normalize_embeddings is False in the store and True in the model"):
        classify.run(over_store(store, tmp_path / "out", normalized))
    with pytest.raises(StrideformerError, match=r"keeps no such column \(it keeps 'topic', 'text'\)"):
        classify.run(over_store(store, tmp_path / "out", tiny_checkpoint, keep_columns=["label:truth"]))
    assert not list(tmp_path.glob("out/part-*"))


def test_a_store_that_is_not_whole_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(StrideformerError, match="has no column 'topics': it has 'doc_id'"):
        EmbeddingStore.open(str(store)).documents(["topics"])
    partial = tmp_path / "partial"
    shutil.copytree(store, partial)
    shutil.copytree(store, partial / "of another corpus")
    assert len(EmbeddingStore.open(f"{partial}/").parts) == len(EmbeddingStore.open(str(store)).parts)
    (partial / "part-00000003.parquet").unlink()
    totals = json.loads((partial / "_SUCCESS").read_text())
    shards = totals["shards"]
    with pytest.raises(
        StrideformerError, match=f"has {shards - 1} parts of {shards}: embed what is missing with --res"
    ):
        EmbeddingStore.open(str(partial))
    totals["encoder"]["stride"] += 1
    (partial / "_SUCCESS").write_text(json.dumps(totals))
    with pytest.raises(StrideformerError, match=r"part-00000000.parquet is not of the encoder that .*_SUCCESS names"):
        EmbeddingStore.open(str(partial))
    del totals["encoder"]
    (partial / "_SUCCESS").write_text(json.dumps(totals))
    with pytest.raises(StrideformerError, match="holds labels, not embeddings"):
        EmbeddingStore.open(str(partial))


def test_limit_takes_the_first_documents_of_the_corpus(tmp_path: Path, store: Path, tiny_checkpoint: Path) -> None:
    totals = classify.run(over_store(store, tmp_path / "out", tiny_checkpoint, limit=5))
    assert (totals["documents"], totals["labelled"], totals["quarantined"]) == (5, 4, 1)
    assert [row["row"] for row in labelled(tmp_path / "out")] == [0, 1, 2, 4]
