"""Products in eight bits are near those in 32, whatever the features' sizes, and cut off what they cannot hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from strideformer.int8_linear import Int8FeedForward, Int8Linear, Levels, Seen, rounded
from tests.int8 import needs_int8

pytestmark = needs_int8


def linear(inputs: int, outputs: int, seed: int = 0, bias: bool = True) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def states(tokens: int = 300, features: int = 64) -> Tensor:
    return torch.randn((tokens, features), generator=torch.Generator().manual_seed(1))


def relative_error(given: Tensor, expected: Tensor) -> float:
    return float((given.float() - expected.float()).norm() / expected.float().norm())


@torch.inference_mode()
@pytest.mark.parametrize("activation", ["", "gelu", "gelu_new"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_near_the_product_in_float32(activation: str, dtype: torch.dtype) -> None:
    left, right = linear(64, 96), linear(64, 32, seed=2, bias=False)
    read = states()
    expected = torch.cat([left(read), right(read)], dim=1)
    if activation:
        expected = gelu(expected, approximate="tanh" if activation == "gelu_new" else "none")
    given = Int8Linear([left, right], Seen.of(read), activation)(read.to(dtype))
    assert given.dtype is dtype
    assert 1e-4 < relative_error(given, expected) < 0.02


@torch.inference_mode()
@pytest.mark.parametrize(("factor", "offset"), [(1.0, 100.0), (50.0, 0.0), (50.0, -500.0)])
def test_a_feature_with_large_values_does_not_spoil_the_others(factor: float, offset: float) -> None:
    layer, read = linear(64, 96), states()
    read[:, 3] = read[:, 3] * factor + offset
    rest = read.clone()
    rest[:, 3] = offset
    int8 = Int8Linear([layer], Seen.of(read))
    # Of the feature itself only what it adds to the others counts here.
    changes = layer(rest) - layer(torch.zeros(1, 64).index_fill(1, torch.tensor([3]), offset))
    # Were all features to share levels as they are, fifty times as much would be rounded off: 0.4.
    assert relative_error(int8(rest) - layer(rest) + changes, changes) < 0.1


@torch.inference_mode()
def test_values_beyond_what_was_seen_are_cut_off_and_not_wrapped_around() -> None:
    layer, read = linear(64, 96), states()
    int8 = Int8Linear([layer], Seen.of(read))
    furthest = int8(read.sign() * 1e3)
    torch.testing.assert_close(int8(read.sign() * 1e6), furthest)
    ends = torch.where(read > 0, read.amax(0), read.amin(0))
    assert torch.cosine_similarity(furthest - layer.bias, layer(ends) - layer.bias).min() > 0.9


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_feed_forward_keeps_its_largest_inner_features_out_of_int8(dtype: torch.dtype) -> None:
    first, second = linear(64, 96), linear(96, 64, seed=2)
    first.weight[[5, 50]] *= 30
    read = states()
    inside = gelu(first(read))
    assert inside[:, [5, 50]].max() > 10 * inside[:, 6:50].max()
    expected = second(inside)
    fed = Int8FeedForward(first.to(dtype), second.to(dtype), "gelu", Seen.of(read), Seen.of(inside))
    before = read.clone()
    given = fed(read.to(dtype))
    assert given.dtype is dtype
    assert relative_error(given, expected) < (0.003 if dtype is torch.float32 else 0.006)
    torch.testing.assert_close(read, before)


def test_levels_reach_over_what_was_seen_and_zero() -> None:
    levels = Levels.spanning(Seen.of(torch.tensor([[2.0, 1.0], [8.0, 3.0]])))
    assert levels.zero_point == 0
    assert 8 < 255 * levels.scale < 10
    levels = Levels.spanning(Seen.of(torch.tensor([[-0.17], [3.0]])))
    assert -(levels.zero_point * levels.scale) < -0.17
    assert (255 - levels.zero_point) * levels.scale > 3
    assert Levels.spanning(Seen.of(torch.zeros(2, 2))).scale > 0


def test_what_is_known_of_some_features_and_of_scaled_ones() -> None:
    read = states()
    factors = torch.arange(1.0, 65.0)
    for given, expected in (
        (Seen.of(read).some(torch.tensor([3, 60])), Seen.of(read[:, [3, 60]])),
        (Seen.of(read).divided(factors), Seen.of(read / factors)),
    ):
        for name, values in vars(expected).items():
            torch.testing.assert_close(getattr(given, name), values, atol=1e-5, rtol=1e-4)
    assert Seen.of(torch.tensor([[-3.0], [1.0]])).largest == 3


def test_rounding_errors_make_up_for_each_other_where_features_go_together() -> None:
    shared = states(features=8)
    read = shared @ torch.randn((8, 200), generator=torch.Generator().manual_seed(3)) + 0.1 * states(features=200)
    weight = 100 * torch.rand((30, 200), generator=torch.Generator().manual_seed(2)) - 50
    by_gptq = rounded(weight, torch.cov(read.T))
    assert by_gptq.dtype is torch.int8
    assert (by_gptq - weight).abs().max() < 20
    plain = relative_error(read @ weight.round().T, read @ weight.T)
    assert relative_error(read @ by_gptq.float().T, read @ weight.T) < plain / 2
    # Features that were never seen to change are rounded as they are.
    torch.testing.assert_close(rounded(weight, torch.zeros(200, 200)), weight.round().to(torch.int8))
    furthest = rounded(torch.full((2, 200), 127.0), torch.cov(read.T))
    assert furthest.max() == 127
