from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from strideformer.errors import StrideformerError
from strideformer.micro_batches import run_in_micro_batches


def test_a_row_that_never_fits_is_told() -> None:
    def run(start: int, end: int) -> None:
        raise torch.OutOfMemoryError("no")

    with pytest.raises(StrideformerError, match="a single chunk of length 7 does not fit"):
        run_in_micro_batches(np.array([7, 3]), 100, run)


def test_other_errors_are_not_taken_for_memory() -> None:
    def run(start: int, end: int) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_in_micro_batches(np.array([7, 3]), 100, run)


def test_micro_batches_cover_every_row_once_within_the_budget() -> None:
    lengths = -np.sort(-np.random.default_rng(0).integers(1, 50, 1000))
    seen: list[int] = []

    def run(start: int, end: int) -> None:
        assert end - start == 1 or (end - start) * lengths[start] <= 120
        seen.extend(range(start, end))

    assert run_in_micro_batches(lengths, 120, run) == 120
    assert seen == list(range(1000))


def test_the_budget_that_held_is_given_back() -> None:
    runs: list[int] = []

    def run(start: int, end: int) -> None:
        if end - start > 3:
            raise torch.OutOfMemoryError("no")
        runs.append(end - start)

    assert run_in_micro_batches(np.full(20, 10), 130, run) == 30
    assert sum(runs) == 20


def test_threads_cover_every_row_once_and_compute_on_one_core_each() -> None:
    lengths = -np.sort(-np.random.default_rng(0).integers(1, 50, 1000))
    before = torch.get_num_threads()
    seen: list[int] = []
    on: dict[str, int] = {}
    meanwhile: list[int] = []

    def new_thread_s_number() -> int:
        with ThreadPoolExecutor(1) as new:
            return new.submit(torch.get_num_threads).result()

    def run(start: int, end: int) -> None:
        assert end - start == 1 or (end - start) * lengths[start] <= 120
        on[threading.current_thread().name] = torch.get_num_threads()
        seen.extend(range(start, end))
        meanwhile.append(new_thread_s_number() if not meanwhile else before)
        time.sleep(0.001)  # without it one thread may be done before the others start

    assert run_in_micro_batches(lengths, 120, run, threads=3) == 120
    assert sorted(seen) == list(range(1000))
    assert len(on) == 3
    assert set(on.values()) == {1}
    assert torch.get_num_threads() == before
    # Of threads that use torch for the first time, which would keep it.
    assert set(meanwhile) == {before}
    assert new_thread_s_number() == before


def test_the_last_micro_batches_are_small_so_that_no_thread_waits_long() -> None:
    sizes: list[int] = []
    run_in_micro_batches(np.full(64, 10), 160, lambda start, end: sizes.append(end - start), threads=2)
    assert sum(sizes) == 64
    assert max(sizes) == 16
    assert sorted(sizes)[:4] == [1, 1, 1, 1]


def test_threads_halve_the_budget_too() -> None:
    rows: list[int] = []
    lock = threading.Lock()

    def run(start: int, end: int) -> None:
        if end - start > 3:
            raise torch.OutOfMemoryError("no")
        with lock:
            rows.extend(range(start, end))

    assert run_in_micro_batches(np.full(40, 10), 130, run, threads=2) <= 30
    assert sorted(rows) == list(range(40))


def test_what_fails_in_a_thread_is_raised_and_ends_the_others() -> None:
    ran: list[int] = []

    def run(start: int, end: int) -> None:
        ran.append(start)
        if start >= 10:
            raise RuntimeError("shape mismatch")
        time.sleep(0.01)

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_in_micro_batches(np.full(1000, 10), 10, run, threads=2)
    assert len(ran) < 20
    assert torch.get_num_threads() >= 1


def test_an_interrupt_does_not_wait_for_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def run(start: int, end: int) -> None:
        ran.append(start)
        time.sleep(0.01)

    def interrupted(future: Future[None], timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_micro_batches(np.full(1000, 10), 10, run, threads=2)
    assert len(ran) < 20


def test_nothing_to_do() -> None:
    assert run_in_micro_batches(np.zeros(0, np.int64), 10, lambda start, end: None, threads=2) == 10
