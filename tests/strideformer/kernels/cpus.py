"""Which kernels the CPU under the tests can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch

from strideformer.kernels.compiled import lanes_for

LANES = {8: "AVX2", 16: "AVX512"}


def _runs(lanes: int, dtype: torch.dtype) -> bool:
    return lanes_for(torch.float32) >= lanes and (dtype is torch.float32 or lanes_for(dtype) == lanes)


KINDS = [(lanes, dtype) for lanes in LANES for dtype in (torch.float32, torch.bfloat16) if _runs(lanes, dtype)]
needs_kernels = pytest.mark.skipif(not KINDS, reason="no llvmlite, or a CPU without AVX2")
every_kind = pytest.mark.parametrize(("lanes", "dtype"), KINDS)


@contextmanager
def a_cpu_of(lanes: int) -> Iterator[None]:
    """Torch says that registers have so many lanes."""
    with patch.object(torch.backends.cpu, "get_cpu_capability", lambda: LANES[lanes]):
        yield
