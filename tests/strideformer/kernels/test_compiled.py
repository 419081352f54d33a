from __future__ import annotations

import importlib.util
import multiprocessing
import os
import threading
from typing import Any

import pytest
import torch

from strideformer.kernels.compiled import ALIGNMENT, aligned, compiled_or_none, lanes_for, on_all_cores
from tests.strideformer.kernels.cpus import a_cpu_of


def test_without_llvmlite_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert lanes_for(torch.float32) == 0


def test_other_processors_have_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert lanes_for(torch.float32) == 0


@pytest.mark.parametrize(("lanes", "has_bf16", "expected"), [(16, True, 16), (16, False, 0), (8, True, 0)])
def test_bf16_needs_instructions_for_it(
    lanes: int, has_bf16: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llvmlite")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    with a_cpu_of(lanes):
        assert lanes_for(torch.float32) == lanes
        assert lanes_for(torch.bfloat16) == expected
        assert lanes_for(torch.float16) == 0


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("parts", [1, 5, 12])
def test_every_part_is_done_once_on_as_many_threads_as_torch_has(
    threads: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    done: list[tuple[int, int, str]] = []
    on_all_cores(parts, lambda first, end: done.append((first, end, threading.current_thread().name)))
    assert sorted(part for first, end, _ in done for part in range(first, end)) == list(range(parts))
    assert len(done) == min(threads, parts)
    assert (done[0][2] == threading.current_thread().name) == (len(done) == 1)


def test_what_a_part_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fail(first: int, end: int) -> None:
        raise ValueError(f"part {first}")

    with pytest.raises(ValueError, match="part 0"):
        on_all_cores(2, fail)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("LLVM IR parsing error\nexpected type"),
        ImportError("no llvmlite.binding"),
        OSError("Could not find/load shared object file"),
    ],
)
def test_what_an_llvmlite_cannot_do_is_left_to_torch(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise error

    assert compiled_or_none("norms", fail, []) is None
    assert f"no kernel for norms ({str(error).splitlines()[0]}); using torch's" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    on_all_cores(2, lambda first, end: None)
    child = multiprocessing.get_context("fork").Process(target=on_all_cores, args=(2, lambda first, end: None))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert child.exitcode == 0


def test_memory_is_aligned() -> None:
    for num_bytes in (1, 63, 64, 1000):
        memory, address = aligned(num_bytes)
        assert address % ALIGNMENT == 0
        assert memory.data_ptr() <= address <= memory.data_ptr() + len(memory) - num_bytes
