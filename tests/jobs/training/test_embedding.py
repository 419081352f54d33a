from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.training import embedding as training_embedding
from jobs.training.embedding import embed
from jobs.training.labelled import LabelledDocuments
from strideformer import ChunkEncoder
from tests.tiny import texts


def test_what_was_embedded_before_a_kill_is_not_embedded_again(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_embedding, "DOCUMENTS_IN_A_PART", 4)
    documents = LabelledDocuments(pa.table({"_text": pa.array(texts(10), pa.large_string())}), {})
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, 8)
    labels = torch.arange(10)
    whole = embed(encoder, documents, labels, tmp_path / "kept", "training")
    vectors = np.concatenate(encoder.encode(texts(10)))
    np.testing.assert_allclose(whole.chunk_vectors.numpy(), vectors, atol=2e-3)
    assert "embedded 10 training documents" in capsys.readouterr().err
    files = sorted((tmp_path / "kept").iterdir())
    assert [file.name for file in files] == ["00000000.safetensors", "00000004.safetensors", "00000008.safetensors"]
    files[1].rename(tmp_path / "kept" / "00000004.partial")  # what a kill leaves
    again = embed(encoder, documents, labels, tmp_path / "kept", "training")
    assert torch.equal(again.chunk_vectors, whole.chunk_vectors)
    np.testing.assert_array_equal(again.chunk_offsets, whole.chunk_offsets)
    assert "embedded 4 training documents" in capsys.readouterr().err


def test_a_part_of_a_version_that_kept_no_tokens_is_embedded_again(tmp_path: Path, tiny_checkpoint: Path) -> None:
    documents = LabelledDocuments(pa.table({"_text": pa.array(texts(3), pa.large_string())}), {})
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, 8)
    whole = embed(encoder, documents, torch.arange(3), tmp_path, "training")
    part = load_file(tmp_path / "00000000.safetensors")
    old = {name: part[name] for name in ("chunk_vectors", "chunk_counts")}
    save_file(old, tmp_path / "00000000.safetensors")
    again = embed(encoder, documents, torch.arange(3), tmp_path, "training")
    assert again.bags is not None
    assert whole.bags is not None
    np.testing.assert_array_equal(again.bags.ids, whole.bags.ids)
    assert load_file(tmp_path / "00000000.safetensors").keys() == part.keys()


def test_a_part_is_of_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_embedding, "BYTES_IN_A_PART", 10)
    lengths = [3, 3, 3, 3, 30, 1, 9, 1]
    documents = LabelledDocuments(pa.table({"_text": pa.array(["x" * n for n in lengths], pa.large_string())}), {})
    assert list(training_embedding._parts(documents)) == [(0, 4), (4, 5), (5, 7), (7, 8)]
