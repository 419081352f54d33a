"""An encoder actor that is killed midway: its shards run again, the output is the same, nothing is doubled."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jobs import classify
from jobs.guard.attempts import start_attempts
from jobs.guard.stage import Guard
from tests.chaos.processes import titles, with_descendants
from tests.integration.test_classify import labelled, settings
from tests.tiny import write_corpus


def encoder_pids() -> list[int]:
    """Processes that Ray named after our encoder stage."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ray::" in name and b"EncodeAndAggregate" in name:
            found.append(int(folder.name))
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_killed_actor(tmp_path: Path, tiny_checkpoint: Path) -> None:
    ids = write_corpus(tmp_path / "a.parquet", 600, longest=150)
    call = settings(
        tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, id_column="doc_id", shard_rows=10, encoders="2"
    )
    totals: list[dict[str, object]] = []
    job = threading.Thread(target=lambda: totals.append(classify.run(call)))
    job.start()
    deadline = time.monotonic() + 90
    killed: list[int] = []
    while job.is_alive() and not killed:
        assert time.monotonic() < deadline
        if len(list(tmp_path.glob("out/part-*.parquet"))) >= 5:
            killed = encoder_pids()[:1]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    committed = len(list(tmp_path.glob("out/part-*.parquet")))
    assert killed
    assert committed < 60, "the job was over before the actor was killed"
    job.join(timeout=200)
    assert totals
    assert totals[0]["labelled"] == 600
    rows = labelled(tmp_path / "out")
    assert [row["doc_id"] for row in rows] == ids

    untouched = settings(tmp_path / "a.parquet", tmp_path / "again", tiny_checkpoint, id_column="doc_id", shard_rows=10)
    classify.run(untouched)
    expected = labelled(tmp_path / "again")
    assert [row["label"] for row in rows] == [row["label"] for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in expected], abs=1e-3)


@pytest.mark.usefixtures("ray_cluster")
def test_the_counter_of_attempts_may_die_too() -> None:
    guard = Guard(start_attempts(), None)
    assert [guard.call("begin", "Chunk", 3), guard.call("begin", "Chunk", 3)] == [1, 2]
    known = titles()
    ours = [pid for pid in with_descendants([os.getpid()]) if known.get(pid, "").startswith("ray::Attempts")]
    assert ours
    for pid in ours:
        os.kill(pid, signal.SIGKILL)
    assert guard.call("begin", "Chunk", 3) == 1
