"""The kernel gives what torch's attention gives, whatever the lengths, shapes, scores and CPUs."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from strideformer.chunk_batches import PackedChunks
from strideformer.compiled_attention import CompiledAttention, compiled_attention
from strideformer.packed_attention import attend_by_products, attend_by_runs, bias_by_place, choose_attention
from tests.strideformer.kernels.cpus import a_cpu_of, every_kind, needs_kernels
from tests.strideformer.packed_batches import packed_batch

pytestmark = needs_kernels

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def random_heads(
    lengths: list[int], heads: int = 2, head_size: int = 32, spare_rows: int = 0, seed: int = 1
) -> tuple[Tensor, PackedChunks]:
    """Random queries, keys and values, and the batch that they are of."""
    tokens = sum(lengths)
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(tokens + spare_rows, 3, heads, head_size, generator=generator)
    return qkv, packed_batch(lengths, torch.zeros(tokens, dtype=torch.int64))


def assert_near(lanes: int, qkv: Tensor, batch: PackedChunks, dtype: torch.dtype) -> Tensor:
    """To what torch gives for the same numbers in float64."""
    qkv = qkv.to(dtype)
    with a_cpu_of(lanes):
        found = CompiledAttention(*qkv.shape[2:], dtype)(qkv, batch)
    assert found.dtype is dtype
    expected = attend_by_runs(qkv.double(), batch)
    torch.testing.assert_close(found.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    return found


@every_kind
@pytest.mark.parametrize("lengths", [[9, 9, 9], [12, 7, 7, 7, 1], [3], [1, 1], [4, 39, 39, 64], [16, 32, 65], [300]])
def test_gives_what_torchs_attention_gives(lanes: int, dtype: torch.dtype, lengths: list[int]) -> None:
    assert_near(lanes, *random_heads(lengths), dtype)


@every_kind
@pytest.mark.parametrize(("heads", "head_size"), [(1, 16), (3, 16), (5, 48), (2, 64), (1, 80), (2, 128)])
def test_of_any_number_of_heads_of_any_multiple_of_the_lanes(
    lanes: int, dtype: torch.dtype, heads: int, head_size: int
) -> None:
    assert_near(lanes, *random_heads([40, 13], heads, head_size), dtype)


@every_kind
@pytest.mark.parametrize("lengths", [[9, 9, 9], [1], [40, 13, 64]])
def test_a_bias_for_the_distance_of_query_and_key(lanes: int, dtype: torch.dtype, lengths: list[int]) -> None:
    """Made for longer chunks than these."""
    qkv, batch = random_heads(lengths)
    bias = torch.randn(2, 2 * 70 - 1, generator=torch.Generator().manual_seed(2))
    with a_cpu_of(lanes):
        found = CompiledAttention(2, 32, dtype, bias)(qkv.to(dtype), batch)
    expected = attend_by_runs(qkv.to(dtype).double(), batch, bias.double())
    torch.testing.assert_close(found.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@every_kind
@pytest.mark.parametrize("reach", [0, 1, 20, 70])
def test_keys_out_of_reach_have_no_share(lanes: int, dtype: torch.dtype, reach: int) -> None:
    """And are not computed, but for those that lie in one register with some within it."""
    qkv, batch = random_heads([150, 13])
    distances = torch.arange(-199, 200)
    bias = torch.where(distances.abs() <= reach, 0.0, -1e30)[None]
    qkv = qkv.to(dtype)
    with a_cpu_of(lanes):
        attend = CompiledAttention(2, 32, dtype, bias)
    expected = attend_by_runs(qkv.double(), batch, bias.double())
    torch.testing.assert_close(attend(qkv, batch).double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    if reach == 20:
        qkv[140, 2] = float("nan")
        found = attend(qkv, batch)
        assert found[:80].isfinite().all()
        assert found[120:150].isnan().all()


def test_distances_that_have_no_bias_are_refused() -> None:
    qkv, batch = random_heads([9, 5])
    with pytest.raises(ValueError, match="at most 8 tokens"):
        CompiledAttention(2, 32, torch.float32, torch.zeros(2, 15))(qkv, batch)


def test_a_bias_by_distance_is_laid_out_by_query_and_key() -> None:
    by_distance = torch.arange(-4.0, 5.0)[None]
    found = bias_by_place(by_distance, 3)
    assert found.tolist() == [[[0, 1, 2], [-1, 0, 1], [-2, -1, 0]]]


@every_kind
def test_rows_of_no_token_are_zeros(lanes: int, dtype: torch.dtype) -> None:
    qkv, batch = random_heads([9, 5], spare_rows=7)
    assert assert_near(lanes, qkv, batch, dtype)[14:].eq(0).all()


@every_kind
@pytest.mark.parametrize("size", [40.0, -40.0])
def test_scores_beyond_all_powers_of_two(lanes: int, dtype: torch.dtype, size: float) -> None:
    """Around 40² × 32 / √32 × log2(e) = 13,000 and −13,000, and one key a row that is far above all others."""
    qkv, batch = random_heads([40, 6])
    qkv[:, 0] += 40
    qkv[:, 1] += size
    qkv = qkv.bfloat16().float()
    found = assert_near_in_bf16(lanes, qkv, batch, dtype)
    assert found.isfinite().all()


def assert_near_in_bf16(lanes: int, qkv: Tensor, batch: PackedChunks, dtype: torch.dtype) -> Tensor:
    """As near as scores of thousands are exact in float32, which one value's share hangs on."""
    with a_cpu_of(lanes):
        found = CompiledAttention(*qkv.shape[2:], dtype)(qkv.to(dtype), batch)
    torch.testing.assert_close(found.double(), attend_by_runs(qkv.double(), batch), atol=2e-2, rtol=2e-2)
    return found


@every_kind
def test_a_chunk_is_computed_alike_whatever_is_beside_it(lanes: int, dtype: torch.dtype) -> None:
    qkv, together = random_heads([40, 13])
    qkv = qkv.to(dtype)
    with a_cpu_of(lanes):
        attend = CompiledAttention(2, 32, dtype)
    alone = packed_batch([13], torch.zeros(13, dtype=torch.int64))
    assert attend(qkv, together)[40:].equal(attend(qkv[40:], alone))


@every_kind
def test_more_threads_give_the_same(lanes: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    qkv, batch = random_heads([40, 13], heads=5)
    qkv = qkv.to(dtype)
    with a_cpu_of(lanes):
        attend = CompiledAttention(5, 32, dtype)
    once = attend(qkv, batch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert attend(qkv, batch).equal(once)


@every_kind
def test_what_is_no_number_is_none_after_it(lanes: int, dtype: torch.dtype) -> None:
    """Of the chunk and head that it is in, and of no other."""
    qkv, batch = random_heads([9, 5])
    qkv[3, 2, 1, 4] = float("nan")
    with a_cpu_of(lanes):
        found = CompiledAttention(2, 32, dtype)(qkv.to(dtype), batch).view(14, 2, 32)
    assert found[:9, 1, 4].isnan().all()
    assert found.isnan().sum() == 9


def test_other_shapes_than_it_was_made_for_are_refused() -> None:
    qkv, batch = random_heads([4])
    attend = CompiledAttention(2, 32, torch.float32)
    with pytest.raises(ValueError, match="2 heads of 32"):
        attend(qkv.double(), batch)
    with pytest.raises(ValueError, match="2 heads of 32"):
        attend(qkv[:, :, :1], batch)


CPU = torch.device("cpu")


def test_heads_of_other_sizes_have_no_kernel() -> None:
    assert compiled_attention(CPU, torch.float32, 2, 32) is not None
    assert compiled_attention(CPU, torch.float32, 2, 26) is None
    assert compiled_attention(CPU, torch.float32, 2, 512) is None
    assert compiled_attention(CPU, torch.float16, 2, 32) is None
    assert compiled_attention(torch.device("meta"), torch.float32, 2, 32) is None


@every_kind
@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_without_its_compiler_torch_attends(
    lanes: int,
    dtype: torch.dtype,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with an llvmlite whose LLVM does not read what this one reads, or which cannot be loaded."""

    def fail(*_: object) -> None:
        raise kind("LLVM IR parsing error\nexpected type")

    monkeypatch.setattr("strideformer.compiled_attention._attend", fail)
    with a_cpu_of(lanes):
        expected = attend_by_products if dtype is torch.bfloat16 else attend_by_runs
        chosen = choose_attention(CPU, dtype, 2, 32)
    assert isinstance(chosen, partial)
    assert chosen.func is expected
    assert "no kernel for attention (LLVM IR parsing error)" in caplog.text


def test_where_amx_multiplies_bf16_products_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert compiled_attention(CPU, torch.bfloat16, 2, 32) is None
    assert compiled_attention(CPU, torch.float32, 2, 32) is not None
