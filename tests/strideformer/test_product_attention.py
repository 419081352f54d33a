from __future__ import annotations

import pytest
import torch
from torch import Tensor

from strideformer.chunk_batches import PackedChunks
from strideformer.packed_attention import attend_fused
from strideformer.product_attention import AttentionByProducts, BatchedProducts, ProductsByHead
from tests.strideformer.packed_batches import packed_batch

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")

BY_PRODUCTS = pytest.mark.parametrize("attention", [BatchedProducts, ProductsByHead])
HEADS, HEAD_SIZE = 2, 4


@pytest.fixture(autouse=True)
def every_length_by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strideformer.product_attention.LEAST_TOKENS", 1)


def random_heads(lengths: list[int], seed: int = 1) -> tuple[Tensor, PackedChunks]:
    """Random queries, keys and values, and the batch that they are of."""
    tokens = sum(lengths)
    qkv = torch.randn(tokens, 3, HEADS, HEAD_SIZE, generator=torch.Generator().manual_seed(seed))
    return qkv, packed_batch(lengths, torch.zeros(tokens, dtype=torch.int64))


def refuse_softmax(attend: AttentionByProducts, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_softmax(*_: Tensor) -> Tensor:
        raise AssertionError("a softmax was taken")

    monkeypatch.setattr(attend, "by_softmax", by_softmax)


@BY_PRODUCTS
@pytest.mark.parametrize("lengths", [[9, 9, 9], [12, 7, 7, 7, 1], [3], [4, 9, 9, 4]])
def test_gives_what_fused_attention_gives(
    attention: type[AttentionByProducts], lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    qkv, batch = random_heads(lengths)
    attend = attention()
    refuse_softmax(attend, monkeypatch)
    torch.testing.assert_close(attend(qkv, batch), attend_fused(qkv, batch), atol=1e-5, rtol=1e-5)


@BY_PRODUCTS
@pytest.mark.parametrize("cells", [1, 2 * 36 * HEADS, 4 * 36 * HEADS, 1 << 20])
def test_attends_to_as_many_chunks_at_once_as_fit_in_cache(
    attention: type[AttentionByProducts], cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    qkv, batch = random_heads([6, 6, 6, 5])
    monkeypatch.setattr("strideformer.product_attention.SCORES_AT_ONCE", cells)
    torch.testing.assert_close(attention()(qkv, batch), attend_fused(qkv, batch), atol=1e-5, rtol=1e-5)


@BY_PRODUCTS
@pytest.mark.parametrize("sign", [1, -1])
def test_one_head_of_large_scores_is_shifted(
    attention: type[AttentionByProducts], sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores around 7² × 4 / 2 × log2(e) = 141, and around −141, whose powers of two float32 does not hold."""
    qkv, batch = random_heads([6, 5])
    qkv[:, 0, 1] += 7
    qkv[:, 1, 1] += 7 * sign
    attend = attention()
    refuse_softmax(attend, monkeypatch)
    found = attend(qkv, batch)
    assert attend.bold
    assert attend.shifts is not None
    unshifted, shifted = attend.shifts.tolist()
    assert unshifted == 0
    assert 100 < -sign * shifted < 200
    torch.testing.assert_close(found, attend_fused(qkv, batch), atol=1e-4, rtol=1e-4)


@BY_PRODUCTS
@pytest.mark.parametrize("size", [40.0, -40.0])
def test_a_chunk_of_other_scores_than_the_first_gets_a_softmax(
    attention: type[AttentionByProducts], size: float
) -> None:
    """Scores around 40² × 4 / 2 = 3,200, and, where queries and keys are of opposite sign, around −3,200."""
    mild, batch = random_heads([6, 5])
    wild = mild.clone()
    wild[:, 0] += 40
    wild[:, 1] += size
    attend = attention()
    before = attend(mild, batch)
    torch.testing.assert_close(attend(wild, batch), attend_fused(wild, batch), atol=1e-3, rtol=1e-3)
    assert attend(mild, batch).equal(before), "what came between changes nothing"


@BY_PRODUCTS
def test_scores_that_no_shift_brings_into_range_get_a_softmax(
    attention: type[AttentionByProducts], monkeypatch: pytest.MonkeyPatch
) -> None:
    qkv, batch = random_heads([6, 5])
    qkv *= 20
    attend = attention()
    found = attend(qkv, batch)
    assert not attend.bold
    torch.testing.assert_close(found, attend_fused(qkv, batch), atol=1e-3, rtol=1e-3)


def test_bf16_of_large_scores_is_finite() -> None:
    qkv, batch = random_heads([6, 5])
    qkv[:, :2] += 40
    assert BatchedProducts()(qkv.to(torch.bfloat16), batch).isfinite().all()


def test_short_chunks_are_left_to_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strideformer.product_attention.LEAST_TOKENS", 7)
    attend = ProductsByHead()
    tried: list[int] = []
    by_powers = attend.by_powers
    monkeypatch.setattr(
        attend, "by_powers", lambda query, *rest: tried.append(query.shape[2]) or by_powers(query, *rest)
    )
    qkv, batch = random_heads([8, 7, 6])
    torch.testing.assert_close(attend(qkv, batch), attend_fused(qkv, batch), atol=1e-5, rtol=1e-5)
    assert tried == [8, 7]
