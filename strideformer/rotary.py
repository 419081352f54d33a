"""Rotary position embeddings of inference (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strideformer.kernels.compiled import compiled_or_none, lanes_for, on_all_cores

if TYPE_CHECKING:
    from strideformer.kernels.vectors import VectorBuilder


class Rotary:
    """Turns queries and keys by their places, by a kernel of our own where there is one, else by torch.

    Args:
        cosines, sines: (places, head_size / 2) of any floating type.
    """

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        self.cosines, self.sines = cosines.float().contiguous(), sines.float().contiguous()

    def __call__(self, qkv: Tensor, places: Tensor) -> None:
        """Change (rows, 3, heads, head_size) in place, where there are (rows,) int64 places; later rows stay.

        Raises:
            ValueError: a place is beyond the tables.
        """
        heads, head_size = qkv.shape[2:]
        function = _function_for(heads, head_size, qkv.dtype) if qkv.device.type == "cpu" else None
        if function is None or not qkv.is_contiguous():
            self._turn(qkv[: len(places), :2], places)
            return
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self.cosines):
            raise ValueError(f"there are cosines and sines for {len(self.cosines)} places only")
        places = places.contiguous()
        pointers = [tensor.data_ptr() for tensor in (qkv, places, self.cosines, self.sines)]
        on_all_cores(len(places), lambda first, end: function(*pointers, first, end))

    def _turn(self, both: Tensor, places: Tensor) -> None:
        """Of (rows, 2, heads, head_size) queries and keys."""
        cosine, sine = (table[places][:, None, None] for table in (self.cosines, self.sines))
        left, right = both.float().chunk(2, dim=-1)
        both.copy_(torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1))


@cache
def _function_for(heads: int, head_size: int, dtype: torch.dtype) -> Callable[..., None] | None:
    lanes = lanes_for(dtype)
    if not lanes or head_size % (2 * lanes):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64

    def build() -> VectorBuilder:
        from strideformer.kernels.rotary_code import RotaryCode

        return RotaryCode(heads, head_size, lanes, dtype is torch.bfloat16)

    return compiled_or_none("rotary positions", build, [*[pointer] * 4, number, number])
