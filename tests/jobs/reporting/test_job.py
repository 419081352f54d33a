from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.output.lease import Lease
from jobs.reporting.job import open_job
from strideformer.errors import StrideformerError
from tests.jobs.reporting.outputs import confident, path_of, write_output

NAMES = ("law", "network", "other")


def output(tmp_path: Path, **more: Any) -> Path:
    return path_of(write_output(str(tmp_path / "out"), confident([0, 1, 2, 0, 1, 2], 3), NAMES, **more))


def test_a_finished_job_and_how_long_it_took(tmp_path: Path) -> None:
    job = open_job(str(output(tmp_path)), {})
    assert (job.finished, job.done, job.documents, job.seconds) == (True, "labelled", 6, 12.5)
    assert job.state == "finished: 2 of 2 shards"


def test_a_copied_output_says_when_its_job_ran_and_a_resumed_one_has_the_seconds_of_its_last_run(
    tmp_path: Path,
) -> None:
    folder = output(tmp_path)
    for name, key, told in (
        ("_SUCCESS", "finished_at", "2026-11-01T10:00:14+00:00"),
        ("_strideformer/job.json", "planned_at", "2026-11-01T10:00:00+00:00"),
    ):
        record = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(record | {key: told}))
    job = open_job(str(folder), {})
    assert job.started == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert job.ended == datetime(2026, 11, 1, 10, 0, 14, tzinfo=UTC)
    assert job.seconds == 12.5
    (folder / name).write_text(json.dumps(record | {key: "2026-11-01T09:00:00+00:00"}))
    assert open_job(str(folder), {}).seconds is None


def test_of_an_output_of_before_the_times_of_its_files_are_known(tmp_path: Path) -> None:
    folder = output(tmp_path)
    record, success = folder / "_strideformer" / "job.json", folder / "_SUCCESS"
    totals = json.loads(success.read_text())
    del totals["finished_at"]
    success.write_text(json.dumps(totals))
    os.utime(success, (1_000_000, 1_000_000))
    os.utime(record, (1_000_000 - 12, 1_000_000 - 12))
    assert open_job(str(folder), {}).seconds == 12.5
    os.utime(record, (900_000, 900_000))
    assert open_job(str(folder), {}).seconds is None


@pytest.mark.parametrize("backend", ["native", "s3fs"])
def test_when_it_ran_is_known_from_object_storage_too(s3_bucket: str, backend: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # a storage may tell whole seconds
    scores = confident([0] * 9, 3)
    for name, committed in (("finished", None), ("stopped", 2)):
        url = write_output(f"s3://{s3_bucket}/{name}", scores, NAMES, committed=committed).url
        job = open_job(url, {"backend": backend})
        assert job.started is not None
        assert job.ended is not None
        assert before <= job.started
        assert before <= job.ended <= datetime.now(UTC)


def test_a_stopped_job_and_one_that_runs(tmp_path: Path) -> None:
    folder = write_output(str(tmp_path / "out"), confident([0] * 9, 3), NAMES, committed=2)
    stopped = open_job(folder.url, {})
    assert (stopped.state, stopped.finished, stopped.seconds) == ("stopped: 2 of 3 shards", False, None)
    assert stopped.ended is not None
    with Lease(folder):
        assert open_job(folder.url, {}).state.startswith("running on ")
    assert open_job(folder.url, {}).running is None


def test_a_finished_job_that_lost_a_part(tmp_path: Path) -> None:
    folder = output(tmp_path)
    (folder / "part-00000001.parquet").unlink()
    job = open_job(str(folder), {})
    assert not job.finished
    assert job.state == "incomplete: 1 of 2 shards; parts were lost since it finished"


def test_what_is_no_output_of_a_job_is_told(tmp_path: Path) -> None:
    with pytest.raises(StrideformerError, match=r"there is nothing at .*/none: give the output folder"):
        open_job(str(tmp_path / "none"), {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(StrideformerError, match=r"/file is a file, or lies below one"):
        open_job(str(tmp_path / "file"), {})
    with pytest.raises(StrideformerError, match="is not what classify or embed wrote"):
        open_job(str(tmp_path), {})
    folder = output(tmp_path)
    (folder / "part-00000009.parquet").write_bytes(b"x")
    with pytest.raises(StrideformerError, match=r"holds part-00000009.parquet, which is not of this job"):
        open_job(str(folder), {})
    (folder / "_strideformer" / "job.json").write_text("{")
    with pytest.raises(StrideformerError, match=r"job.json is not JSON"):
        open_job(str(folder), {})


def test_a_record_of_another_version_may_say_less(tmp_path: Path) -> None:
    folder = output(tmp_path)
    (folder / "_strideformer" / "job.json").write_text(json.dumps({"fingerprint": {}}))
    assert open_job(str(folder), {}).settings == {}
