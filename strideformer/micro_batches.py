"""Cutting ragged work into micro-batches of near equal length under a budget of padded cells."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Lock

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


def threads_for(rows: int) -> int:
    """How many micro-batches to run at once on a CPU: one on each core of torch's, if there are rows for all."""
    threads = torch.get_num_threads()
    return threads if rows >= threads else 1


def run_in_micro_batches(
    sorted_lengths: np.ndarray,
    budget: int,
    run: Callable[[int, int], None],
    what: str = "chunk",
    threads: int = 1,
) -> int:
    """Call ``run(start, end)`` on ranges that together cover every row once.

    The longest come first, so that a budget too large for the device shows on the first micro-batch: it is
    halved then, as often as needed, and the run goes on with what is left.

    Several threads each take the next range when they are done with one, and compute on one core: where torch would
    put all cores to one micro-batch, they would wait for each other after each of its operations.

    Args:
        sorted_lengths: (rows,) integers sorted from long to short, the padded cost of each row (tokens of a
            chunk, chunks of a document).
        budget: the most padded cells (rows × longest) that one micro-batch may have.
        run: does the work for the range that it is handed; must be safe to call again after running out of memory,
            and with several threads from all of them at once.
        what: what a row is, for the error message.
        threads: how many micro-batches run at once. With 1, ``run`` is called in the thread of the caller, in order.

    Returns:
        The budget that held to the end, to start from the next time.

    Raises:
        StrideformerError: a single row does not fit the device.
    """
    work = _Work(sorted_lengths, budget, run, what, threads)
    if threads == 1:
        work.do()
        return work.budget
    before = torch.get_num_threads()
    # The last number that was set is also that of threads which use torch for the first time. So ours all take theirs
    # before it is put back, and they work after.
    all_took = Barrier(threads + 1)
    with ThreadPoolExecutor(threads, "micro-batch", _take_one_core, (all_took,)) as pool:
        try:
            doing = [pool.submit(work.do) for _ in range(threads)]
            all_took.wait()
            torch.set_num_threads(before)
            all_took.wait()
            for done in doing:
                done.result()
        finally:
            work.left = []  # an interrupt waits for the micro-batches under way, and not for all of them
            all_took.abort()
    return work.budget


def _take_one_core(all_took: Barrier) -> None:
    """Give this thread one of torch's threads."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # which makes it this thread's own
    with suppress(BrokenBarrierError):  # an interrupt came first, and there is nothing to do
        all_took.wait()
        all_took.wait()


class _Work:
    """The ranges that are left, which threads take turns to take from."""

    def __init__(
        self, sorted_lengths: np.ndarray, budget: int, run: Callable[[int, int], None], what: str, threads: int
    ) -> None:
        self.lengths, self.budget, self.run, self.what, self.threads = sorted_lengths, budget, run, what, threads
        self.left = [(0, len(sorted_lengths))] if len(sorted_lengths) else []
        self.cells_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sorted_lengths, dtype=np.int64)])
        self.lock = Lock()

    def do(self) -> None:
        """Run one range after the other, until none is left or one has failed."""
        while taken := self._take():
            start, end = taken
            try:
                self.run(start, end)
            except Exception as error:
                with self.lock:
                    self._again(start, end, error)
                continue
            progressed()

    def _take(self) -> tuple[int, int] | None:
        with self.lock:
            if not self.left:
                return None
            start, stop = self.left.pop()
            budget = self.budget
            if self.threads > 1:
                # Smaller ones towards the end, so that no thread waits long for the last of them.
                cells = int(self.cells_before[stop] - self.cells_before[start])
                budget = min(budget, cells // (2 * self.threads))
            end = min(stop, next_micro_batch(self.lengths, start, budget))
            if end < stop:
                self.left.append((end, stop))
            return start, end

    def _again(self, start: int, end: int, error: Exception) -> None:
        """Give back what did not fit with a smaller budget, or end all threads' work and raise."""
        if not is_out_of_memory(error):
            self.left = []
            raise error
        if end - start == 1:
            self.left = []
            raise StrideformerError(
                f"a single {self.what} of length {int(self.lengths[start])} does not fit the device's memory: "
                f"use a smaller max_length or max_chunks, a smaller model, or a larger device"
            ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.budget = min(self.budget, (end - start) // 2 * int(self.lengths[start]))
        self.left.append((start, end))
