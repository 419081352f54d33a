from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.guard import isolation
from jobs.guard.isolation import Child, ChildDiedError, run_isolated
from jobs.stages.columns import quarantine
from strideformer.errors import StrideformerError
from tests.jobs.guard.stages_for_tests import EXIT, GREED, HANG, RAISE, SEGFAULT, Fragile, SlowToBuild, Unbuildable


def documents(*texts: str) -> pa.Table:
    count = len(texts)
    return pa.table(
        {
            "doc_id": [str(index) for index in range(count)],
            "_shard": pa.array([4] * count, pa.int64()),
            "_text": pa.array(texts, pa.large_string()),
            "quarantine_reason": pa.nulls(count, pa.string()),
            "quarantine_detail": pa.nulls(count, pa.string()),
        }
    )


def test_the_documents_that_kill_are_found_and_the_others_go_on() -> None:
    result = run_isolated(documents("a", EXIT, "bcd", SEGFAULT, HANG, "ef"), Fragile("size"), ("size",), timeout=3)
    assert result.column("doc_id").to_pylist() == ["0", "1", "2", "3", "4", "5"]
    assert result.column("size").to_pylist() == [1, None, 3, None, None, 2]
    assert result.column("quarantine_reason").to_pylist() == [None, "crashed", None, "crashed", "timed_out", None]
    details = result.column("quarantine_detail").to_pylist()
    assert "exit status 7" in details[1]
    assert "SIGSEGV" in details[3]
    assert "longer than 3 seconds" in details[4]


def test_a_document_that_takes_the_memory_is_stopped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "free_bytes", lambda: 400 << 20)
    result = run_isolated(documents("a", GREED, "bc"), Fragile(), (), timeout=60)
    assert result.column("quarantine_reason").to_pylist() == [None, "crashed", None]
    assert "half of the memory that was free" in result.column("quarantine_detail")[1].as_py()


def test_the_child_ends_with_its_worker() -> None:
    script = (
        "import os, threading, time\n"
        "from jobs.guard.isolation import Child\n"
        "from tests.jobs.guard.stages_for_tests import HANG, Fragile\n"
        "from tests.jobs.guard.test_isolation import documents\n"
        "child = Child(Fragile, ())\n"
        "print(child._process.pid, flush=True)\n"
        "threading.Timer(0.5, os._exit, (0,)).start()\n"
        "child.run(documents(HANG), None)\n"
    )
    worker = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    pid = int(worker.stdout)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and b"guard.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def test_when_every_document_kills_none_is_to_blame() -> None:
    with pytest.raises(StrideformerError, match=r"5 documents in a row ended the process of Fragile .*exit status 7"):
        run_isolated(documents(*[EXIT] * 6), Fragile(), ())


@pytest.mark.parametrize("before", [[], ["a"]])
def test_many_that_kill_in_a_row_are_to_blame_if_another_lives(before: list[str]) -> None:
    result = run_isolated(documents(*before, *[EXIT] * 6, "b"), Fragile(), ())
    assert result.column("length").to_pylist() == [len(text) for text in before] + [None] * 6 + [1]
    assert result.column("quarantine_reason").to_pylist() == [None for _ in before] + ["crashed"] * 6 + [None]


def test_a_stage_that_dies_while_it_is_built() -> None:
    with pytest.raises(ChildDiedError, match="exit status 3"):
        Child(Unbuildable, ())


def test_a_stage_that_takes_too_long_to_build_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(isolation.subprocess, "Popen", start)
    monkeypatch.setattr(isolation, "START_SECONDS", 0.1)
    with pytest.raises(ChildDiedError, match=r"longer than 0.1 seconds"):
        Child(SlowToBuild, ())
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize("stage", [Unbuildable, SlowToBuild])
def test_no_document_is_to_blame_where_no_child_starts(stage: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "START_SECONDS", 0.5 if stage is SlowToBuild else 60)
    with pytest.raises(StrideformerError, match=f"{stage.__name__} cannot be started in a process of its own"):
        run_isolated(documents("a"), stage.__new__(stage), ())


def test_a_child_that_did_not_start_is_started_again(tmp_path: Path) -> None:
    flag = str(tmp_path / "started")
    result = run_isolated(documents("a", "bc"), Fragile(), ("length", flag))
    assert result.column("length").to_pylist() == [1, 2]


@pytest.mark.parametrize("texts", [[EXIT, SEGFAULT], [EXIT] * 3, [EXIT] * 4])
def test_of_few_documents_of_which_each_kills_none_is_to_blame(texts: list[str]) -> None:
    with pytest.raises(StrideformerError, match=f"each of the {len(texts)} documents .* leave these documents out"):
        run_isolated(documents(*texts), Fragile(), ())


def test_one_document_alone_that_kills_and_slow_ones_are_to_blame() -> None:
    for texts, reasons in [((EXIT,), ["crashed"]), ((HANG, EXIT), ["timed_out", "crashed"])]:
        result = run_isolated(documents(*texts), Fragile(), (), timeout=2)
        assert result.column("quarantine_reason").to_pylist() == reasons


@pytest.mark.parametrize("place", [0, 7])
def test_a_row_that_is_quarantined_already_vouches_for_nobody(place: int) -> None:
    texts = [EXIT] * 7
    texts.insert(place, "")
    given = quarantine(documents(*texts), {place: ("empty_text", "it is empty")})
    with pytest.raises(StrideformerError, match="5 documents in a row"):
        run_isolated(given, Fragile(), ())


def test_an_exception_is_no_crash() -> None:
    with pytest.raises(StrideformerError, match="ValueError: raised over a document"):
        run_isolated(documents("a", RAISE), Fragile(), ())
