"""The kernel of attention reads and writes no memory but what it was given: in a process that may be killed for it."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import pytest
import torch

from tests.strideformer.kernels.cpus import KINDS, needs_kernels

pytest.importorskip("llvmlite")

from strideformer.kernels.attention_code import AttentionCode, keys_at_once, scratch_bytes
from strideformer.kernels.compiled import compiled

pytestmark = needs_kernels

HEADS, HEAD_SIZE = 2, 32
POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int64


class Guarded:
    """Memory between two pages that kill whoever touches them, at the end of what lies between.

    Args:
        num_bytes: of it.
    """

    def __init__(self, num_bytes: int) -> None:
        pages = -(-num_bytes // mmap.PAGESIZE)
        self.memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        last = first + (pages + 1) * mmap.PAGESIZE
        for page in (first, last):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
        self.address = last - num_bytes
        ctypes.memset(first + mmap.PAGESIZE, 0x5A, self.address - first - mmap.PAGESIZE)
        self.before = (first + mmap.PAGESIZE, self.address - first - mmap.PAGESIZE)

    def untouched_before(self) -> bool:
        start, num_bytes = self.before
        return ctypes.string_at(start, num_bytes) == b"\x5a" * num_bytes


def attend_guarded(lanes: int, dtype: torch.dtype, lengths: list[int], biased: bool) -> None:
    bf16 = dtype is torch.bfloat16
    number_bytes = 2 if bf16 else 4
    tokens, at_once = sum(lengths), keys_at_once(lanes)
    most_keys = -(-max(lengths) // at_once) * at_once
    row = HEADS * HEAD_SIZE * number_bytes
    biases = (2 * max(lengths) - 1 + at_once) if biased else 0
    sizes = [tokens * 3 * row, tokens * row, 4 * (len(lengths) + 1), scratch_bytes(most_keys, HEAD_SIZE, lanes, bf16)]
    memories = [Guarded(size) for size in [*sizes, 4 * HEADS * biases]]
    qkv, contexts, offsets, scratch, bias = (memory.address for memory in memories)
    numbers = torch.randn(tokens * 3 * HEADS * HEAD_SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    ctypes.memmove(qkv, numbers.data_ptr(), sizes[0])
    starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    ctypes.memmove(offsets, starts.data_ptr(), sizes[2])
    code = AttentionCode(HEADS, HEAD_SIZE, lanes, bf16, biases)
    function = compiled(code, [POINTER] * 4 + [NUMBER] * 3 + [ctypes.c_float, POINTER, NUMBER])
    function(qkv, contexts, offsets, bias, len(lengths), 0, HEADS, 0.25, scratch, most_keys)
    assert all(memory.untouched_before() for memory in memories)
    assert ctypes.string_at(qkv, sizes[0]) == ctypes.string_at(numbers.data_ptr(), sizes[0])


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("lengths", [[1], [7, 1, 40], [64, 33], [0, 5, 0]])
@pytest.mark.parametrize("biased", [False, True])
def test_no_other_memory_is_touched(lengths: list[int], biased: bool) -> None:
    calls = "\n".join(f"attend_guarded({lanes}, {dtype}, {lengths}, {biased})" for lanes, dtype in KINDS)
    script = f"import torch\nfrom {__name__} import attend_guarded\n{calls}\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_guard_guards() -> None:
    script = f"import ctypes\nfrom {__name__} import Guarded\nctypes.string_at(Guarded(100).address, 101)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode < 0
