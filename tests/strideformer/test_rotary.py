from __future__ import annotations

import pytest
import torch
from torch import Tensor

from strideformer import rotary
from strideformer.rotary import Rotary
from tests.strideformer.kernels.cpus import a_cpu_of, every_kind


def angles(head_size: int) -> tuple[Tensor, Tensor]:
    turned = torch.arange(20)[:, None] * torch.linspace(1, 0.01, head_size // 2)
    return turned.cos(), turned.sin()


def as_complex_numbers(qkv: Tensor, places: Tensor) -> Tensor:
    """Queries and keys times e^(i angle), where a head's first half is real and its second imaginary."""
    left, right = qkv[: len(places), :2].double().chunk(2, dim=-1)
    cosine, sine = (table[places].double()[:, None, None] for table in angles(qkv.shape[-1]))
    turned = torch.complex(left, right) * torch.complex(cosine, sine)
    expected = qkv.double()
    expected[: len(places), :2] = torch.cat([turned.real, turned.imag], dim=-1)
    return expected


def random_heads(head_size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    places = torch.randint(0, 20, (7,), generator=generator)
    return torch.randn(9, 3, 2, head_size, generator=generator), places


@every_kind
@pytest.mark.parametrize("head_size", [32, 64, 24])
def test_queries_and_keys_are_turned_and_values_and_later_rows_stay(
    lanes: int, dtype: torch.dtype, head_size: int
) -> None:
    """Heads of 24 by torch."""
    qkv, places = random_heads(head_size)
    qkv = qkv.to(dtype)
    expected = as_complex_numbers(qkv, places)
    with a_cpu_of(lanes):
        Rotary(*angles(head_size))(qkv, places)
    tolerance = 1e-6 if dtype is torch.float32 else 1e-2
    torch.testing.assert_close(qkv.double(), expected, atol=tolerance, rtol=tolerance)


def test_places_beyond_the_tables_are_refused() -> None:
    qkv, places = random_heads(64)
    places[3] = 20
    with pytest.raises((ValueError, IndexError)):
        Rotary(*angles(64))(qkv, places)


def test_torch_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotary, "_function_for", lambda *_: None)
    qkv, places = random_heads(64)
    expected = as_complex_numbers(qkv, places)
    Rotary(*angles(64))(qkv, places)
    torch.testing.assert_close(qkv.double(), expected, atol=1e-6, rtol=1e-6)
