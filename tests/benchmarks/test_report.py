from __future__ import annotations

from pathlib import Path

import pytest

from jobs.reporting.gather import gather
from jobs.reporting.job import open_job
from tests.benchmarks import report
from tests.jobs.reporting.outputs import MULTI, SINGLE


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
def test_what_is_measured_is_an_output_of_a_job(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DIFFERENT_PARTS", 2)
    report.write(tmp_path / "out", parts=5, rows=200, labels=3, kind=kind)
    job = open_job(str(tmp_path / "out"), {})
    assert (len(job.parts), job.shards, job.documents) == (5, 5, 1000)
    found = gather(job, 3)
    assert found.total.documents == 1000
    assert found.total.quarantined == found.quarantined.reasons.total() > 0
