from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from strideformer.compiled_attention import CompiledAttention
from strideformer.encoder import ChunkEncoder
from strideformer.errors import StrideformerError
from strideformer.packed_attention import any_attention
from strideformer.packed_encoder import packed_encoder
from strideformer.packed_modernbert import PackedModernBert
from tests.strideformer.kernels.cpus import needs_kernels
from tests.strideformer.packed_batches import packed_batch
from tests.tiny import texts, tiny_tokenizer

SIZES = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 300,
    "local_attention": 16,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def small(**changes: Any) -> Any:
    torch.manual_seed(0)
    return ModernBertModel(ModernBertConfig(**SIZES | changes)).eval()


def packed(model: Any) -> PackedModernBert:
    found = packed_encoder(model)
    assert isinstance(found, PackedModernBert)
    return found


@pytest.mark.parametrize("lengths", [[9, 9, 9], [40, 7, 7, 1], [3], [70, 69, 33]])
@pytest.mark.parametrize("heads", [2, 4, 8])
@pytest.mark.parametrize("everywhere", [False, True])
def test_gives_what_transformers_gives_for_each_chunk_alone(lengths: list[int], heads: int, everywhere: bool) -> None:
    """Heads of 32, 16 and 8, of which some have kernels of our own; chunks longer than the window, and shorter."""
    model = small(num_attention_heads=heads)
    forward = PackedModernBert(model, any_attention) if everywhere else packed(model)
    ids = torch.randint(5, 200, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    given = forward(packed_batch(lengths, ids), [0, 2, -1])
    with torch.inference_mode():
        alone = [model(input_ids=chunk[None], output_hidden_states=True) for chunk in ids.split(lengths)]
    expected = [[one.hidden_states[0][0], one.hidden_states[2][0], one.last_hidden_state[0]] for one in alone]
    for states, chunks in zip(given, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(states, torch.cat(chunks), atol=2e-5, rtol=1e-4)


@needs_kernels
def test_layers_within_a_window_compute_no_other_keys() -> None:
    layers = packed(small()).layers
    assert all(isinstance(layer.attend, CompiledAttention) for layer in layers)
    biases = [len(layer.attend.bias) for layer in layers if isinstance(layer.attend, CompiledAttention)]
    assert biases == [0, 2, 2, 0], "every third layer attends to all"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_chunks_among_others_are_as_if_alone(dtype: torch.dtype) -> None:
    forward = packed(small().to(dtype))
    ids = torch.randint(5, 200, (60,), generator=torch.Generator().manual_seed(1))
    [together] = forward(packed_batch([40, 20], ids))
    [alone] = forward(packed_batch([20], ids[40:]))
    torch.testing.assert_close(together[40:], alone, atol=1e-5 if dtype is torch.float32 else 0.05, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"norm_bias": True, "mlp_bias": True, "attention_bias": True}, {}])
def test_with_biases_and_without(changes: dict[str, bool]) -> None:
    assert packed(small(**changes))


def test_what_is_not_here_is_left_to_its_own_forward() -> None:
    assert packed_encoder(small(hidden_activation="silu")) is None
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    assert packed_encoder(small(rope_parameters={"full_attention": scaled, "sliding_attention": scaled})) is None


def test_the_engine_uses_it_and_has_no_int8_for_it(tmp_path: Path) -> None:
    small().save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    encoder = ChunkEncoder.from_pretrained(tmp_path, "cpu", "float32", 48, 8)
    assert isinstance(encoder.packed, PackedModernBert)
    documents = texts(7, longest=120)
    given = encoder.encode(documents)
    encoder.packed = None
    for left, right in zip(given, encoder.encode(documents), strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)
    with pytest.raises(StrideformerError, match=r"not for this modernbert: use auto|dtype int8 needs"):
        ChunkEncoder.from_pretrained(tmp_path, "cpu", "int8", 48, 8)
