"""Resuming: after SIGKILL of the driver, after a lost part, and refused when the job is not the same."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs import classify, preflight
from jobs.preflight import Checked
from jobs.settings import ClassifySettings
from strideformer.errors import StrideformerError
from tests.chaos.processes import with_descendants
from tests.integration.test_classify import labelled, settings
from tests.listening import beyond_loopback, listening
from tests.tiny import save_tiny_checkpoint, write_corpus

ROOT = Path(__file__).parents[2]


def ids(output: Path) -> list[str]:
    return sorted(ds.dataset(str(output), format="parquet").to_table(columns=["doc_id"]).column(0).to_pylist())


def assert_loopback_only(driver: int) -> None:
    """Of the driver and all that it started, nothing listens where another machine could reach it."""
    family = with_descendants([driver])
    assert len(listening(family)) >= 5, "Ray listens somewhere"
    assert beyond_loopback(family) == {}


def assert_modes_obey_umask(output: Path) -> None:
    """Under a umask of 027, as the driver was given."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [output, *output.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}, modes
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o640}, modes


def test_sigkill_of_the_driver_then_resume_gives_every_document_once(tmp_path: Path, tiny_checkpoint: Path) -> None:
    wanted = write_corpus(tmp_path / "a.parquet", 1500, longest=150)
    arguments = [str(tmp_path / "a.parquet"), str(tmp_path / "out"), "--model", str(tiny_checkpoint)]
    arguments += ["--id-column", "doc_id", "--shard-rows", "10", "--device", "cpu", "--progress", "plain"]
    command = [sys.executable, "-m", "jobs.classify", *arguments]
    # A cluster of its own, which dies with its driver; not the session's.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, start_new_session=True, cwd=tmp_path, umask=0o027
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("out/part-*.parquet"))) < 5:
        assert driver.poll() is None, driver.stderr and driver.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert_loopback_only(driver.pid)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(1)
    assert_modes_obey_umask(tmp_path / "out")
    before = {part.name: part.stat().st_mtime_ns for part in tmp_path.glob("out/part-*.parquet")}
    assert 5 <= len(before) < 150
    assert not (tmp_path / "out" / "_SUCCESS").exists()

    refused = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert refused.returncode == 2
    assert "use --resume" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

    resumed = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=240
    )
    assert resumed.returncode == 0, resumed.stderr
    assert ids(tmp_path / "out") == wanted
    after = {part.name: part.stat().st_mtime_ns for part in tmp_path.glob("out/part-*.parquet")}
    plan = pq.read_table(tmp_path / "out" / "_strideformer" / "plan.parquet", columns=["shard"])
    assert len(after) == len(plan.column("shard").unique())
    assert {name: after[name] for name in before} == before, "a committed shard ran again"
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["labelled"] == 1500
    assert not (tmp_path / "out" / "_strideformer" / "tmp").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_only_what_is_missing_or_broken_runs_again(tmp_path: Path, tiny_checkpoint: Path) -> None:
    wanted = write_corpus(tmp_path / "a.parquet", 40)
    call = settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, id_column="doc_id", shard_rows=4)
    first = classify.run(call)
    expected = labelled(tmp_path / "out")
    parts = sorted(tmp_path.glob("out/part-*.parquet"))
    parts[3].unlink()
    parts[5].write_bytes(parts[5].read_bytes()[:100])
    (tmp_path / "out" / "_SUCCESS").unlink()
    kept = {part: part.stat().st_mtime_ns for part in parts if part not in (parts[3], parts[5])}
    second = classify.run(call.model_copy(update={"resume": True}))
    assert ids(tmp_path / "out") == wanted
    assert labelled(tmp_path / "out") == expected
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    of_a_run = {"seconds": 0, "finished_at": ""}
    assert second | of_a_run == first | of_a_run


@pytest.mark.usefixtures("ray_cluster")
def test_resuming_a_finished_job_does_nothing(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 8)
    call = settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint)
    totals = classify.run(call)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.parquet")}
    assert classify.run(call.model_copy(update={"resume": True})) == totals
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_of_a_version_without_a_setting_is_resumed_and_not_run_again(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "a.parquet", 8)
    call = settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint)
    check = preflight.check

    def older(settings: ClassifySettings) -> Checked:
        checked = check(settings)
        return replace(checked, fingerprint={k: v for k, v in checked.fingerprint.items() if k != "early_exit"})

    with monkeypatch.context() as patched:
        patched.setattr(preflight, "check", older)
        totals = classify.run(call)
    assert classify.run(call.model_copy(update={"resume": True})) == totals


@pytest.mark.usefixtures("ray_cluster")
def test_resume_is_refused_when_the_job_changed(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 8)
    call = settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint)
    classify.run(call)
    resume = call.model_copy(update={"resume": True})
    with pytest.raises(StrideformerError, match="stride was 4 and is now 5"):
        classify.run(resume.model_copy(update={"stride": 5}))
    with pytest.raises(StrideformerError, match="limit was null and is now 3"):
        classify.run(resume.model_copy(update={"limit": 3}))
    other = save_tiny_checkpoint(tmp_path / "other", dropout=0.2)
    with pytest.raises(StrideformerError, match="model was"):
        classify.run(resume.model_copy(update={"model": str(other)}))
    write_corpus(tmp_path / "a.parquet", 9)
    with pytest.raises(StrideformerError, match="input bytes was"):
        classify.run(resume)
