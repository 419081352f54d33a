"""Documents that kill or hang the process that handles them, in a real job: they alone are quarantined."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import classify
from tests.integration.test_classify import labelled, settings
from tests.jobs.guard.stages_for_tests import EXIT, HANG, SEGFAULT, FragileChunk
from tests.tiny import texts


def quarantined(output: Path) -> dict[str, str]:
    rows = [row for file in sorted(output.glob("_quarantine/*.parquet")) for row in pq.read_table(file).to_pylist()]
    return {row["doc_id"]: row["reason"] for row in rows}


@pytest.mark.usefixtures("ray_cluster")
def test_documents_that_kill_the_tokenizer(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = texts(60)
    contents[7], contents[31], contents[44] = f"law {EXIT}", SEGFAULT, HANG
    ids = [f"d{index}" for index in range(60)]
    pq.write_table(pa.table({"id": ids, "text": contents}), tmp_path / "a.parquet")
    monkeypatch.setattr("jobs.flow.Chunk", FragileChunk)
    totals = classify.run(
        settings(
            tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, id_column="id", shard_rows=20, document_timeout=4
        )
    )
    assert quarantined(tmp_path / "out") == {"d7": "crashed", "d31": "crashed", "d44": "timed_out"}
    assert (totals["labelled"], totals["quarantined"]) == (57, 3)
    assert {row["doc_id"] for row in labelled(tmp_path / "out")} == set(ids) - {"d7", "d31", "d44"}
