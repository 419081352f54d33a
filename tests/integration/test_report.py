"""A report of what a real job wrote, and the job's own commands with the page in its folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import classify, report
from jobs.report_settings import ReportSettings
from tests.integration.test_classify import labelled, settings
from tests.jobs.reporting.test_page import assert_harmless
from tests.tiny import LABELS, write_corpus


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_is_reported_resumed_and_begun_again_with_the_page_there(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 24)
    corpus = pq.read_table(tmp_path / "a.parquet")
    texts = ["", *corpus.column("text").to_pylist()[1:]]
    pq.write_table(corpus.set_column(1, "text", [texts]), tmp_path / "a.parquet")
    output = tmp_path / "out"
    call = settings(tmp_path / "a.parquet", output, tiny_checkpoint, id_column="doc_id", shard_rows=4)
    totals = classify.run(call)
    page = Path(report.run(ReportSettings(output=str(output))))
    content = page.read_text(encoding="utf-8")
    assert_harmless(content)
    assert f"finished: {totals['shards']} of {totals['shards']} shards" in content
    assert all(
        name in content for name in (*LABELS, "empty_text", "doc-00000", str(tiny_checkpoint), "Where the time went")
    )
    rows = labelled(output)
    least = min(rows, key=lambda row: (row["score"], row["row"]))
    assert content.index(least["doc_id"]) < content.index(sorted(rows, key=lambda row: row["score"])[1]["doc_id"])

    next(output.glob("part-*3.parquet")).unlink()
    report.run(ReportSettings(output=str(output)))
    assert "parts were lost since it finished" in page.read_text(encoding="utf-8")
    of_a_run = {"seconds": 0, "finished_at": ""}
    assert classify.run(call.model_copy(update={"resume": True})) | of_a_run == totals | of_a_run
    assert labelled(output) == rows
    assert page.exists()
    classify.run(call.model_copy(update={"overwrite": True}))
    assert labelled(output) == rows
    assert not page.exists(), "it was of the job before"
