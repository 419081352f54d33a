"""Bad files and a limit of quarantined documents, through the whole job on Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
import pytest

from jobs import classify
from jobs.cli import run_command
from jobs.output.limit import TooManyQuarantinedError
from jobs.settings import ClassifySettings
from tests.integration.test_classify import labelled, settings
from tests.tiny import write_corpus

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_bad_files_are_counted_and_a_limit_stops_the_job_until_it_is_raised(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    write_corpus(tmp_path / "in" / "c.parquet", 6)
    (tmp_path / "in" / "a.parquet").write_bytes(b"")
    (tmp_path / "in" / "b.jsonl").write_text('{"body": "x"}\n')
    (tmp_path / "in" / "d.csv").write_text("")
    call = settings(tmp_path / "in", tmp_path / "out", tiny_checkpoint, max_quarantined="1", shard_rows=4)
    with pytest.raises(TooManyQuarantinedError, match=r"2 of \d documents .*\(unreadable_file 1, wrong_schema 1\)"):
        classify.run(call)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    resumed = call.model_copy(update={"resume": True})
    with pytest.raises(TooManyQuarantinedError):
        classify.run(resumed)
    totals = classify.run(resumed.model_copy(update={"max_quarantined": "30%"}))
    assert (totals["documents"], totals["labelled"], totals["quarantined"]) == (8, 6, 2)
    assert (totals["files_quarantined"], totals["files_without_documents"]) == (2, 1)
    assert totals["quarantine_reasons"] == {"unreadable_file": 1, "wrong_schema": 1}
    rows = ds.dataset(str(tmp_path / "out" / "_quarantine"), format="parquet").to_table().to_pylist()
    assert sorted((Path(row["source"]).name, row["row"], row["doc_id"]) for row in rows) == [
        ("a.parquet", None, None),
        ("b.jsonl", None, None),
    ]
    assert len(labelled(tmp_path / "out")) == 6


def test_the_same_fault_in_every_file_is_a_wrong_call(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        write_corpus(tmp_path / "in" / f"{name}.parquet", 2)
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(tiny_checkpoint), "--text-column", "body"]
    assert run_command("classify", ClassifySettings, classify.run, arguments) == 2
    assert "none of the 3 files looked at can be used" in capsys.readouterr().err
