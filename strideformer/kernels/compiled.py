"""From built code to a function that can be called, and to memory that it works in."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from strideformer.devices import cpu_has
from strideformer.errors import first_line

if TYPE_CHECKING:
    from strideformer.kernels.vectors import VectorBuilder

# The CPU that code is compiled for where torch sees AVX2 only, or was told to; with AVX-512 it is the one that is here.
WITH_AVX2 = "x86-64-v3"
# Of memory that is handed to a kernel, in bytes: a line of the cache.
ALIGNMENT = 64

# What a broken llvmlite raises, and one whose LLVM does not read the code.
NOT_COMPILED = (ImportError, OSError, RuntimeError)

_ENGINES: list[Any] = []  # the code is gone with them

logger = logging.getLogger(__name__)


def lanes_for(dtype: torch.dtype) -> int:
    """Float32 numbers in a register of this CPU as torch sees it; 0 where there are no kernels for it and this type."""
    if platform.machine() not in ("x86_64", "AMD64") or importlib.util.find_spec("llvmlite") is None:
        return 0
    lanes = {"AVX512": 16, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 0)
    if dtype is torch.bfloat16:
        return lanes if lanes == 16 and cpu_has("avx512_bf16") else 0
    return lanes if dtype is torch.float32 else 0


def compiled(code: VectorBuilder, argument_types: Sequence[Any]) -> Callable[..., None]:
    """The function that was built, of arguments of these ctypes. It lets go of Python's lock while it runs.

    LLVM's passes over what was built are left out: they take three quarters of the time and make it no faster.
    """
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = WITH_AVX2, ""
    if code.lanes == 16:
        cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    machine = binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3)
    module = binding.parse_assembly(str(code.llvm))
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    function: Callable[..., None] = ctypes.CFUNCTYPE(None, *argument_types)(engine.get_function_address(code.llvm.name))
    return function


def compiled_or_none(
    what: str, build: Callable[[], VectorBuilder], argument_types: Sequence[Any]
) -> Callable[..., None] | None:
    """The function that is to be built, or None, with a warning, where llvmlite is broken or does not read such code.

    Args:
        what: it is for, to be named in the warning.
        build: imports llvmlite only when it is called.
        argument_types: as of `compiled`.
    """
    try:
        return compiled(build(), argument_types)
    except NOT_COMPILED as error:
        logger.warning("no kernel for %s (%s); using torch's", what, first_line(error))
        return None


def aligned(num_bytes: int) -> tuple[Tensor, int]:
    """Memory for as long as the tensor lives, and an address in it from which on so many bytes are free."""
    memory = torch.empty(num_bytes + ALIGNMENT, dtype=torch.uint8)
    return memory, -(-memory.data_ptr() // ALIGNMENT) * ALIGNMENT


def on_all_cores(parts: int, run: Callable[[int, int], None]) -> None:
    """Call ``run(first, end)`` on ranges that together are all parts, one for each of the calling thread's cores."""
    threads = min(torch.get_num_threads(), parts)
    if threads <= 1:
        run(0, parts)
        return
    bounds = [parts * number // threads for number in range(threads + 1)]
    for done in [_pool().submit(run, first, end) for first, end in pairwise(bounds)]:
        done.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "kernel")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its threads
