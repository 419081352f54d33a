"""What tests need that run matrix products in int8."""

from __future__ import annotations

import pytest
import torch

from strideformer.errors import StrideformerError
from strideformer.int8_encoder import check_int8


def _has_int8() -> bool:
    try:
        check_int8(torch.device("cpu"))
    except StrideformerError:
        return False
    return True


needs_int8 = pytest.mark.skipif(not _has_int8(), reason="a CPU without AVX512-VNNI or AMX")
