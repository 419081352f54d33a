from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer.chunk_batches import runs_of_one_length
from strideformer.compiled_attention import CompiledAttention
from strideformer.encoder import ChunkEncoder
from strideformer.encoder_parts import parts_of
from strideformer.packed_attention import Attention, attend_by_products, attend_by_runs, attend_fused
from strideformer.packed_encoder import packed_encoder
from strideformer.packed_linear import Linear, keep_kernels
from tests.strideformer.encoder_kinds import OTHER, small
from tests.strideformer.kernels.cpus import needs_kernels
from tests.strideformer.packed_batches import packed_batch

EVERY_ATTENTION = pytest.mark.parametrize("attend", [attend_fused, attend_by_runs, attend_by_products])
EVERY_KIND = pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "mpnet"])


@EVERY_KIND
@pytest.mark.parametrize("lengths", [[9, 9, 9], [12, 7, 7, 7, 1], [3], [4, 9, 9, 4]])
@EVERY_ATTENTION
def test_gives_what_transformers_gives_for_each_chunk_alone(kind: str, lengths: list[int], attend: Attention) -> None:
    model = small(kind)
    packed = packed_encoder(model)
    assert packed is not None
    parts = parts_of(model)
    assert parts is not None
    assert (parts.distance_bias is not None) == (kind == "mpnet")
    for layer in packed.layers:
        layer.attend = partial(attend, distance_bias=parts.distance_bias)
    ids = torch.randint(5, 50, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    [states] = packed(packed_batch(lengths, ids))
    with torch.inference_mode():
        expected = [model(input_ids=chunk[None]).last_hidden_state[0] for chunk in ids.split(lengths)]
    torch.testing.assert_close(states, torch.cat(expected), atol=1e-5, rtol=1e-5)


@EVERY_ATTENTION
def test_rows_of_no_token_change_nothing(attend: Attention) -> None:
    packed = packed_encoder(small("bert"))
    assert packed is not None
    seen: list[int] = []

    def noted(states: torch.Tensor, linear: Linear) -> torch.Tensor:
        seen.append(len(states))
        return linear(states)

    for layer in packed.layers:
        layer.attend = attend
        layer.qkv = partial(noted, linear=layer.qkv)
        layer.feed_forward = partial(noted, linear=layer.feed_forward)
    ids = torch.randint(5, 50, (33,), generator=torch.Generator().manual_seed(1))
    given = []
    for packed.rows in (1, 32):
        given.append(packed(packed_batch([20, 13], ids), [0, 1, 2]))
    assert seen == [33] * 4 + [64] * 4
    for left, right in zip(*given, strict=True):
        assert len(right) == 33
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [[0], [1], [0, -1], [2, 1, -3]])
def test_gives_the_states_of_the_layers_asked_for_and_runs_no_further(layers: list[int]) -> None:
    model = small("bert")
    packed = packed_encoder(model)
    assert packed is not None
    ids = torch.randint(5, 50, (9,), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(input_ids=ids[None], output_hidden_states=True).hidden_states
    del packed.layers[max(layer % 3 for layer in layers) :]
    packed.layers += [None] * (2 - len(packed.layers))  # type: ignore[list-item]  # calling one would raise
    for states, layer in zip(packed(packed_batch([9], ids), layers), layers, strict=True):
        torch.testing.assert_close(states, expected[layer][0], atol=1e-5, rtol=1e-5)


def test_runs_of_one_length() -> None:
    assert runs_of_one_length(np.array([9, 9, 5, 5, 5, 1])) == [(2, 9), (3, 5), (1, 1)]
    assert runs_of_one_length(np.array([3])) == [(1, 3)]


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_every_gelu_is_the_models_own(activation: str) -> None:
    assert packed_encoder(small("bert", hidden_act=activation)) is not None


def test_bf16_stays_close() -> None:
    model = small("bert").to(torch.bfloat16)
    packed = packed_encoder(model)
    assert packed is not None
    for layer in packed.layers:
        assert isinstance(layer.attend, partial)
        assert layer.attend.func is attend_by_products, "heads of 8 have no kernel"
    ids = torch.randint(5, 50, (12,), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.float()(input_ids=ids[None]).last_hidden_state[0]
    assert torch.cosine_similarity(packed(packed_batch([12], ids))[0].float(), expected).min() > 0.99


@needs_kernels
@EVERY_KIND
def test_heads_of_32_have_a_kernel(kind: str) -> None:
    model = small(kind, hidden_size=64, initializer_range=0.2)
    packed = packed_encoder(model)
    assert packed is not None
    assert all(isinstance(layer.attend, CompiledAttention) for layer in packed.layers)
    ids = torch.randint(5, 50, (33,), generator=torch.Generator().manual_seed(1))
    [states] = packed(packed_batch([20, 13], ids))
    with torch.inference_mode():
        expected = [model(input_ids=chunk[None]).last_hidden_state[0] for chunk in ids.split([20, 13])]
    torch.testing.assert_close(states, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_a_kernel_that_fails_leaves_attention_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Attention:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("strideformer.packed_encoder.choose_attention", fail)
    packed = packed_encoder(small("bert"))
    assert packed is not None
    for layer in packed.layers:
        assert isinstance(layer.attend, partial)
        assert layer.attend.func is attend_fused


def test_other_models_keep_their_own_forward() -> None:
    assert packed_encoder(small(OTHER)) is None
    assert packed_encoder(small("distilbert", hidden_act="relu")) is None
    assert packed_encoder(small("bert", hidden_act="relu")) is None
    assert packed_encoder(small("bert", is_decoder=True)) is None


def test_a_model_that_computes_otherwise_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    model = small("bert")
    model.encoder.layer[0].register_forward_hook(lambda module, given, result: torch.roll(result, 1, -1))
    with caplog.at_level(logging.WARNING):
        assert packed_encoder(model) is None
    assert "does not fit this bert" in caplog.text


def test_a_model_of_other_parts_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    model = small("bert")
    del model.embeddings.LayerNorm
    model.embeddings.LayerNorm = torch.nn.Identity()
    with caplog.at_level(logging.WARNING):
        assert packed_encoder(model) is None
    assert "using its own" in caplog.text


def test_the_engine_uses_it_and_gives_the_vectors_of_the_own_forward(tiny_checkpoint: Path) -> None:
    documents = ["law " * 40, "the court", ""]
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    assert encoder.packed is not None
    packed = encoder.encode(documents)
    encoder.packed = None
    for left, right in zip(packed, encoder.encode(documents), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_some_chunks_in_any_order(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    views = encoder.chunker.views(["law court " * 40, "union tax"])
    everything = encoder.encode_views(views)
    chosen = np.array([3, 0, views.num_chunks - 1])
    torch.testing.assert_close(encoder.encode_views(views, chosen), everything[chosen], atol=1e-5, rtol=1e-5)
    assert encoder.encode_views(views, np.empty(0, np.int64)).shape == (0, encoder.hidden_size)


def test_the_environment_says_how_many_kernels_onednn_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    keep_kernels()
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) > 1024
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    keep_kernels()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
