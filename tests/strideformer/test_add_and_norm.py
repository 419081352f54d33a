from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from strideformer import add_and_norm
from strideformer.add_and_norm import AddAndNorm
from tests.strideformer.kernels.cpus import a_cpu_of, every_kind

TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 2e-2}


@pytest.fixture
def norm() -> nn.LayerNorm:
    return random_norm(48)


def random_norm(width: int, epsilon: float = 1e-5) -> nn.LayerNorm:
    torch.manual_seed(0)
    norm = nn.LayerNorm(width, eps=epsilon)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def random_rows(rows: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(rows, width, generator=generator) * 3 + 5).to(dtype) for _ in range(2)]


def assert_near(norm: nn.LayerNorm, added: Tensor, states: Tensor) -> None:
    with torch.no_grad():
        expected = norm.double()(added.double() + states.double())
    norm.float()
    before = states.clone()
    found = AddAndNorm(norm)(added, states)
    assert found.dtype is states.dtype
    assert states.equal(before)
    tolerance = TOLERANCE[states.dtype]
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@every_kind
@pytest.mark.parametrize(("rows", "width"), [(5, 48), (1, 384), (7, 16), (3, 1024), (2, 1040), (4, 50)])
def test_gives_what_torch_gives(lanes: int, dtype: torch.dtype, rows: int, width: int) -> None:
    """Rows of 1,040 and of 50 by torch itself, where a bf16 sum is rounded before the norm."""
    with a_cpu_of(lanes):
        assert_near(random_norm(width), *random_rows(rows, width, dtype))


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
def test_a_row_without_variance_is_the_bias(norm: nn.LayerNorm, epsilon: float) -> None:
    norm.eps = epsilon
    assert AddAndNorm(norm)(torch.ones(2, 48), torch.ones(2, 48)).equal(norm.bias.detach().expand(2, 48))
    assert_near(norm, *random_rows(4, 48, torch.float32))


def test_rows_of_another_width_are_torchs_to_refuse(norm: nn.LayerNorm) -> None:
    with pytest.raises(RuntimeError, match="normalized_shape"):
        AddAndNorm(norm)(torch.ones(2, 32), torch.ones(2, 32))


def test_without_a_kernel_torch_does_it(norm: nn.LayerNorm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add_and_norm, "_function_for", lambda width, dtype: None)
    assert_near(norm, *random_rows(5, 48, torch.float32))


def test_more_threads_give_the_same(norm: nn.LayerNorm, monkeypatch: pytest.MonkeyPatch) -> None:
    added, states = random_rows(50, 48, torch.float32)
    once = AddAndNorm(norm)(added.clone(), states)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert AddAndNorm(norm)(added.clone(), states).equal(once)
