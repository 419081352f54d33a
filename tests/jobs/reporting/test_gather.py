from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.output.receipt import RECEIPT_KEY
from jobs.reporting import parts, quarantined
from jobs.reporting.gather import Findings, gather
from jobs.reporting.job import open_job
from strideformer.errors import StrideformerError
from tests.jobs.reporting.outputs import MULTI, REGRESSION, confident, path_of, write_output, write_store

NAMES = ("law", "network", "other")


def findings(url: str | Path, examples: int = 3) -> Findings:
    return gather(open_job(str(url), {}), examples)


@pytest.mark.parametrize("batch_rows", [2, 1 << 16])
def test_single_labels(tmp_path: Path, batch_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.reporting.gather.BATCH_ROWS", batch_rows)
    monkeypatch.setattr("jobs.reporting.gather.PARTS_AT_ONCE", 2)
    given, sure = [0, 1, 0, 0, 1, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.95, 0.99, 0.45, 0.85]
    quarantine = {2: ("empty_text", "why"), 8: ("null_text", "why")}
    folder = write_output(str(tmp_path / "out"), confident(given, 3, sure), NAMES, quarantined=quarantine)
    found = findings(folder.url)
    assert (found.total.documents, found.total.labelled, found.total.quarantined) == (9, 7, 2)
    assert found.scores is not None
    assert found.scores.given.tolist() == [4, 3, 0]
    assert found.scores.sums[:2] == pytest.approx([0.9 + 0.6 + 0.95 + 0.99, 0.8 + 0.5 + 0.45])
    assert found.scores.overall.sum() == 7
    assert found.scores.by_label.sum(axis=1).tolist() == [4, 3, 0]
    assert [row["doc_id"] for row in found.least_sure] == ["d7", "d4", "d3"]
    assert found.least_sure[0]["scores"] == pytest.approx({"law": 0.275, "network": 0.45, "other": 0.275})
    assert found.lengths.documents.sum() == 7
    assert found.quarantined.reasons == {"empty_text": 1, "null_text": 1}
    assert [row["doc_id"] for row in found.examples["empty_text"]] == ["d2"]


def test_several_labels(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.05], [0.52, 0.97, 0.01], [0.99, 0.98, 0.97], [0.3, 0.1, 0.1]])
    found = findings(write_output(str(tmp_path / "out"), scores, NAMES, MULTI).url, examples=2)
    assert found.scores is not None
    assert found.scores.given.tolist() == [3, 2, 2]
    assert found.scores.sums == pytest.approx([0.9 + 0.52 + 0.99, 0.97 + 0.98, 0.6 + 0.97])
    assert (found.scores.without, found.scores.overall.sum()) == (2, 5)
    assert [row["doc_id"] for row in found.least_sure] == ["d2", "d0"]


@pytest.mark.parametrize("targets", [1, 2])
def test_values(tmp_path: Path, targets: int) -> None:
    values = np.array([[5.0, 50], [-3, 30], [2, 20], [8, 80], [1, 10]])[:, :targets]
    found = findings(write_output(str(tmp_path / "out"), values, NAMES[:targets], REGRESSION).url, examples=4)
    assert found.scores is not None
    assert [values.low for values in found.scores.values] == [-3, 10][:targets]
    assert [values.total for values in found.scores.values] == [13, 190][:targets]
    assert [row["doc_id"] for row in found.least_sure] == ["d1", "d4"]
    assert [row["doc_id"] for row in found.highest] == ["d3", "d0"]


def test_a_store_has_lengths_and_a_quarantine_and_its_own_labels_are_let_be(tmp_path: Path) -> None:
    found = findings(write_store(str(tmp_path / "store"), 9).url)
    assert (found.scores, found.least_sure) == (None, [])
    assert (found.total.labelled, found.lengths.documents.sum(), found.lengths.longest) == (8, 8, 3300)
    assert found.examples["empty_text"][0]["detail"] == "there is nothing in it"


def test_nothing_labelled_and_nothing_done(tmp_path: Path) -> None:
    scores, reasons = confident([0] * 5, 3), dict.fromkeys(range(5), ("empty_text", "why"))
    quarantine = findings(write_output(str(tmp_path / "all"), scores, NAMES, quarantined=reasons).url)
    assert (quarantine.scores, quarantine.total.quarantined, len(quarantine.examples["empty_text"])) == (None, 5, 3)
    nothing = findings(write_output(str(tmp_path / "none"), scores, NAMES, committed=0).url)
    assert (nothing.total.documents, nothing.lengths.longest) == (0, 0)


def test_the_quarantine_of_shards_that_are_not_committed_does_not_count(tmp_path: Path) -> None:
    reasons = {0: ("empty_text", "why"), 5: ("null_text", "why")}
    folder = path_of(write_output(str(tmp_path / "out"), confident([0] * 8, 3), NAMES, quarantined=reasons))
    (folder / "part-00000001.parquet").unlink()
    found = findings(folder)
    assert found.quarantined.reasons == found.total.reasons == {"empty_text": 1}


def test_a_part_of_the_quarantine_that_was_deleted_is_counted(tmp_path: Path) -> None:
    reasons = {0: ("empty_text", "why"), 5: ("null_text", "why")}
    folder = path_of(write_output(str(tmp_path / "out"), confident([0] * 8, 3), NAMES, quarantined=reasons))
    (folder / "_quarantine" / "part-00000001.parquet").unlink()
    found = findings(folder)
    assert (found.quarantined.missing, found.total.quarantined, list(found.examples)) == (1, 2, ["empty_text"])


def test_files_are_many_and_memory_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantined, "MOST_SOURCES", 30)
    monkeypatch.setattr(quarantined, "SOURCES_KEPT", 10)
    found = quarantined.Quarantined()
    for shard in range(50):
        sources = [f"file-{shard}"] * 2 + ["the bad one"] * 5
        found.add(pa.record_batch({"reason": ["r"] * 7, "source": sources}), shard, 0)
    assert found.sources.most_common(1) == [("the bad one", 250)]
    assert len(found.sources) <= 30
    assert found.places["r"] == [(0, 0), (0, 1), (0, 2)]


def damaged(folder: Path, how: str) -> None:
    part = folder / "part-00000001.parquet"
    if how == "cut":
        part.write_bytes(part.read_bytes()[:200])
    elif how == "pages":
        whole = part.read_bytes()
        part.write_bytes(whole[:4] + b"\xff" * 1500 + whole[1504:])
    elif how == "column":
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["num_tokens"]), part)
    elif how == "no receipt":
        pq.write_table(pq.read_table(part).replace_schema_metadata(None), part)
    else:
        other = pq.read_schema(folder / "part-00000000.parquet").metadata[RECEIPT_KEY]
        pq.write_table(pq.read_table(part).replace_schema_metadata({RECEIPT_KEY: other}), part)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", r"part-00000001.parquet cannot be read \(.*delete it, and make it anew with .*--resume"),
        ("pages", r"part-00000001.parquet cannot be read \(.*delete it, and make it anew with .*--resume"),
        ("column", r"part-00000001.parquet has no column 'num_tokens': give the output of classify or embed"),
        ("no receipt", r"part-00000001.parquet says nothing of its shard: delete it"),
        ("another's", r"part-00000001.parquet is of another job than _strideformer/job.json: delete it"),
    ],
)
def test_a_part_that_cannot_be_read_is_told(tmp_path: Path, how: str, message: str) -> None:
    folder = path_of(write_output(str(tmp_path / "out"), confident([0] * 8, 3), NAMES))
    damaged(folder, how)
    with pytest.raises(StrideformerError, match=message) as raised:
        findings(folder)
    assert "\n" not in str(raised.value)


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_output(str(tmp_path / "out"), confident([0] * 8, 3), NAMES)
    asked: list[tuple[str, ...]] = []
    batches = parts.batches

    def noting(part: pq.ParquetFile, columns: Any, rows: int = 1) -> Any:
        asked.append(tuple(columns))
        return batches(part, columns, rows)

    monkeypatch.setattr("jobs.reporting.gather.batches", noting)
    findings(folder.url)
    assert set(asked) == {("label", "scores"), ("num_tokens", "num_chunks", "truncated", "label", "score")}
