"""Cutting ragged work into micro-batches of near equal length under a budget of padded cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from strideformer.errors import StrideformerError
from strideformer.watchdog import progressed


def next_micro_batch(sorted_lengths: np.ndarray, start: int, budget: int) -> int:
    """End (exclusive) of the micro-batch that begins at ``start`` of lengths sorted longest first.

    Its first row is its longest, so rows × that length is what it costs padded. A row longer than the whole
    budget still gets a micro-batch of its own.
    """
    rows = max(1, budget // max(1, int(sorted_lengths[start])))
    return min(len(sorted_lengths), start + rows)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an exception type of its own; the CPU allocator raises a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def run_in_micro_batches(
    sorted_lengths: np.ndarray, budget: int, run: Callable[[int, int], None], what: str = "chunk"
) -> int:
    """Call ``run(start, end)`` on consecutive ranges that together cover every row once.

    The longest come first, so that a budget too large for the device shows on the first micro-batch: it is
    halved then, as often as needed, and the run goes on with what is left.

    Args:
        sorted_lengths: (rows,) integers sorted from long to short, the padded cost of each row (tokens of a
            chunk, chunks of a document).
        budget: the most padded cells (rows × longest) that one micro-batch may have.
        run: does the work for the range that it is handed; must be safe to call again after running out of memory.
        what: what a row is, for the error message.

    Returns:
        The budget that held to the end, to start from the next time.

    Raises:
        StrideformerError: a single row does not fit the device.
    """
    start = 0
    while start < len(sorted_lengths):
        end = next_micro_batch(sorted_lengths, start, budget)
        try:
            run(start, end)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if end - start == 1:
                raise StrideformerError(
                    f"a single {what} of length {int(sorted_lengths[start])} does not fit the device's memory: "
                    f"use a smaller max_length or max_chunks, a smaller model, or a larger device"
                ) from error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            budget = (end - start) // 2 * int(sorted_lengths[start])
            continue
        progressed()
        start = end
    return budget
