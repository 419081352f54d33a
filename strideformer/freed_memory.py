"""Keeping memory that tensors free, where the C library would give it back and take it again."""

from __future__ import annotations

import ctypes
import os

import numpy as np

# Of glibc's malloc.h, with the value that each is given: free memory at the end of a heap stays there, whatever its
# size; a heap that is empty stays; and no block has a mapping of its own, which goes when it is freed (but those of
# 64 MB that are asked for on another thread than the main one, whose heaps end there).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEEP = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 60_000_000, MMAP_MAX: 0}
# Bytes just below 32 MiB, from which on glibc always maps a block by itself.
LARGEST_IN_HEAP = 32_500_000
# By which a user has tuned the C library, which is then left alone.
OF_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_blocks() -> None:
    """Show glibc a block of nearly 32 MiB that is freed, from which it learns to keep such blocks.

    That is its own rule: the largest block that was freed, up to this size, is what it keeps from then on, and twice as
    much at the end of a heap. Encoders on a CPU do it, whose tensors are smaller: a twentieth of MiniLM-L6's time, on
    two cores of a Zen 5, was clearing pages. Nothing is written to the block.
    """
    np.empty(LARGEST_IN_HEAP, np.uint8)


def keep_freed_memory() -> bool:
    """From now on this process keeps the memory that it frees, for its next tensors.

    By default glibc gives a tensor of more than a few megabytes back to the kernel as soon as it is freed, and the
    kernel clears every page of the next one. On two cores of a Zen 5 that was two fifths of a step of training
    MiniLM-L6 on 24,576 tokens in two processes. The price is that a process stays as large as it once was.

    Training on a CPU calls it, and so do the processes of a job that encode on one. Other programs have what
    `keep_freed_blocks` does, and may call it.

    Returns:
        Whether the C library does so: it is glibc, and the environment does not tune it already.
    """
    if any(name in os.environ for name in OF_USER):
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # as on Windows
        return False
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    return all(library.mallopt(option, value) == 1 for option, value in KEEP.items())
