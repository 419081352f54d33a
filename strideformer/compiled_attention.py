"""Self-attention on a CPU by a kernel of our own."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from strideformer.chunk_batches import PackedChunks
from strideformer.devices import cpu_has
from strideformer.errors import first_line
from strideformer.kernels.compiled import NOT_COMPILED, aligned, compiled, lanes_for, on_all_cores

# The largest heads that there are kernels for, whose code grows with the head size.
MOST_HEAD_SIZE = 256
# Keys with a bias under this have no share, whatever their scores.
NO_SHARE = -1e9

logger = logging.getLogger(__name__)


class CompiledAttention:
    """Softmax attention, chunk by chunk: no padding, no mask, and scores that never leave the core's first cache.

    Six layers of 12 heads of 32 over a chunk of 384 tokens take one core of a Zen 5 3.5 ms in bf16 and 7 ms in float32;
    torch's fused kernel takes 17 ms of either, and products of all heads by oneDNN with powers of two between, in bf16,
    8 ms.

    Args:
        heads, head_size: of the layer.
        dtype: float32 or bfloat16.
        distance_bias: as of `EncoderParts`. Keys too far away for a share are not computed.
    """

    def __init__(self, heads: int, head_size: int, dtype: torch.dtype, distance_bias: Tensor | None = None) -> None:
        from strideformer.kernels.attention_code import keys_at_once, scratch_bytes

        lanes, bf16 = lanes_for(dtype), dtype is torch.bfloat16
        self.heads, self.head_size, self.dtype = heads, head_size, dtype
        self.keys_at_once = keys_at_once(lanes)
        self.bias, reach = torch.empty(0), 0
        if distance_bias is not None:
            # Added before scores are scaled; and read for keys that are not there.
            biases = pad(distance_bias.float() * head_size**0.5, (0, self.keys_at_once))
            self.bias = biases.expand(heads, -1).contiguous()
            self.most_tokens = (distance_bias.shape[1] + 1) // 2
            reach = _reach(distance_bias)
        self.function = _attend(heads, head_size, lanes, bf16, self.bias.shape[-1], reach)
        self.bytes_for_one_key = scratch_bytes(1, head_size, lanes, bf16)

    def __call__(self, qkv: Tensor, chunks: PackedChunks) -> Tensor:
        """(rows, 3, heads, head_size) to (rows, heads * head_size), zeros in rows beyond the last token."""
        return self.within(qkv, chunks.offsets, chunks.longest)

    def within(self, qkv: Tensor, offsets: Tensor, longest: int) -> Tensor:
        """The same within any runs of rows.

        Args:
            qkv: (rows, 3, heads, head_size).
            offsets: (runs + 1,) int32, where each run starts, one after the other.
            longest: rows of the longest of them.

        Returns:
            (rows, heads * head_size), zeros in rows beyond the last run.

        Raises:
            ValueError: the shape or type is another than it was made for, or there is no bias for such a distance.
        """
        if qkv.shape[1:] != (3, self.heads, self.head_size) or qkv.dtype is not self.dtype:
            raise ValueError(f"made for {self.heads} heads of {self.head_size} in {self.dtype}")
        if len(self.bias) and longest > self.most_tokens:
            raise ValueError(f"made for chunks of at most {self.most_tokens} tokens")
        qkv, offsets = qkv.contiguous(), offsets.contiguous()
        contexts = qkv.new_empty((len(qkv), self.heads * self.head_size))
        contexts[int(offsets[-1]) :] = 0
        most_keys = -(-longest // self.keys_at_once) * self.keys_at_once
        scale = self.head_size**-0.5 * math.log2(math.e)

        def attend(first_head: int, end_head: int) -> None:
            memory, address = aligned(most_keys * self.bytes_for_one_key)
            pointers = (qkv.data_ptr(), contexts.data_ptr(), offsets.data_ptr(), self.bias.data_ptr())
            self.function(*pointers, len(offsets) - 1, first_head, end_head, scale, address, most_keys)
            del memory

        on_all_cores(self.heads, attend)
        return contexts


def compiled_attention(
    device: torch.device, dtype: torch.dtype, heads: int, head_size: int, distance_bias: Tensor | None = None
) -> CompiledAttention | None:
    """The kernel for a device, number format, shape and bias, None where there is none that is the fastest.

    In bf16 it is for CPUs with AVX512-BF16; those with AMX, too, multiply bf16 many times faster than these
    instructions, and were not at hand to measure.
    """
    lanes = lanes_for(dtype) if device.type == "cpu" else 0
    if not lanes or head_size % lanes or head_size > MOST_HEAD_SIZE:
        return None
    if dtype is torch.bfloat16 and cpu_has("amx_tile"):
        return None
    try:
        return CompiledAttention(heads, head_size, dtype, distance_bias)
    except NOT_COMPILED as error:
        logger.warning("no kernel for attention (%s); using torch's", first_line(error))
        return None


def _reach(distance_bias: Tensor) -> int:
    """The largest distance of which a key may have a share, 0 where all may."""
    most = (distance_bias.shape[1] + 1) // 2
    near = (distance_bias.float() > NO_SHARE).any(0).nonzero().squeeze(1) - (most - 1)
    reach = int(near.abs().max()) if len(near) else most - 1
    return reach if reach < most - 1 else 0


@cache
def _attend(heads: int, head_size: int, lanes: int, bf16: bool, biases: int, reach: int) -> Callable[..., None]:
    from strideformer.kernels.attention_code import AttentionCode

    pointer, number = ctypes.c_void_p, ctypes.c_int64
    kinds = [*[pointer] * 4, number, number, number, ctypes.c_float, pointer, number]
    return compiled(AttentionCode(heads, head_size, lanes, bf16, biases, reach), kinds)
