"""What the builder builds computes what it says, on the CPU under the tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.strideformer.kernels.cpus import KINDS, every_kind, needs_kernels

pytest.importorskip("llvmlite")
from llvmlite import ir

from strideformer.kernels.compiled import compiled
from strideformer.kernels.vectors import I64, POINTER, VectorBuilder

pytestmark = needs_kernels


def run(
    lanes: int, dtype: torch.dtype, build: Callable[[VectorBuilder, ir.Value, ir.Value], None], given: torch.Tensor
) -> torch.Tensor:
    """What a function writes that reads ``given``."""
    code = VectorBuilder("tried", [POINTER, POINTER], lanes, dtype is torch.bfloat16)
    build(code, *code.arguments)
    code.ret_void()
    result = torch.full_like(given, float("nan"))
    compiled(code, [ctypes.c_void_p] * 2)(given.data_ptr(), result.data_ptr())
    return result


@pytest.mark.parametrize("lanes", sorted({lanes for lanes, _ in KINDS}))
@pytest.mark.parametrize("degree", [4, 6])
def test_powers_of_two(lanes: int, degree: int) -> None:
    coefficients = np.polynomial.Chebyshev.interpolate(np.exp2, degree, domain=[-0.5, 0.5])
    polynomial = coefficients.convert(kind=np.polynomial.Polynomial).coef.tolist()

    def build(code: VectorBuilder, source: ir.Value, target: ir.Value) -> None:
        with code.loop(0, 512, lanes) as place:
            exponent = code.read_floats(code.at(source, (place.index, 4)))
            code.write(code.power_of_two(exponent, polynomial), code.at(target, (place.index, 4)))

    exponents = torch.cat([torch.linspace(-126, 126, 500), torch.tensor([0.0, 1, -1, 0.5, -0.5, 1.5, 2.5] + [0.0] * 5)])
    found = run(lanes, torch.float32, build, exponents)
    torch.testing.assert_close(found, exponents.double().exp2().float(), rtol=4e-6 if degree == 4 else 3e-7, atol=0)
    assert found[500] == 1, "of nothing"


@every_kind
def test_numbers_are_read_and_written_in_their_format(lanes: int, dtype: torch.dtype) -> None:
    """And rounded to the nearest one."""

    def build(code: VectorBuilder, source: ir.Value, target: ir.Value) -> None:
        half = code.fmul(code.read(source), code.constant(1 / 3))
        code.write(half, target)

    given = torch.linspace(-5, 5, lanes).to(dtype)
    assert run(lanes, dtype, build, given).equal((given.float() * (1 / 3)).to(dtype))


@every_kind
def test_products_of_words_are_added_up(lanes: int, dtype: torch.dtype) -> None:
    in_word = 4 // given_bytes(dtype)
    given = torch.arange(1, 2 * lanes * in_word + 1).to(dtype)

    def build(code: VectorBuilder, source: ir.Value, target: ir.Value) -> None:
        words = code.read_words(source)
        once = code.dot_words(words, code.word(code.at(source, 4)), code.constant(1.0))
        code.write(once, target)

    second = given[in_word : 2 * in_word].float()
    expected = 1 + (given[: lanes * in_word].float().view(lanes, in_word) * second).sum(1)
    assert run(lanes, dtype, build, given)[:lanes].equal(expected.to(dtype))


@every_kind
def test_lanes_are_combined_into_each(lanes: int, dtype: torch.dtype) -> None:
    def build(code: VectorBuilder, source: ir.Value, target: ir.Value) -> None:
        vector = code.read(source)
        code.write(code.over_lanes(vector, code.largest), target)
        code.write(code.over_lanes(vector, code.fadd), code.at(target, lanes * code.number_bytes))

    given = torch.randperm(2 * lanes, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = run(lanes, dtype, build, given)
    assert found[:lanes].eq(given[:lanes].max()).all()
    assert found[lanes:].eq(given[:lanes].sum()).all()


def test_what_a_loop_carries_comes_out_of_it() -> None:
    lanes, dtype = KINDS[0]

    def build(code: VectorBuilder, source: ir.Value, target: ir.Value) -> None:
        with code.loop(0, 5, 2, [code.constant(10.0), code.constant(1.0)]) as turn:
            total, factor = turn.carried
            turn.results += [code.fadd(total, factor), code.fmul(factor, code.constant(2.0))]
        code.write(turn.results[0], target)
        with code.loop(3, ir.Constant(I64, 3), 1, [turn.results[1]]) as once:
            once.results += [code.fadd(once.carried[0], code.constant(1.0))]
        code.write(once.results[0], code.at(target, 4 * lanes))

    found = run(lanes, dtype, build, torch.zeros(2 * lanes))
    assert found[:lanes].eq(10 + 1 + 2 + 4).all()
    assert found[lanes:].eq(8 + 1).all(), "once at least"


def given_bytes(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()
