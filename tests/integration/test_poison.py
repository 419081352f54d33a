"""Documents that kill or hang the process that handles them, in a real job: they alone are quarantined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import classify
from jobs.stages.aggregate import EncodeAndAggregate
from strideformer.encoder import ChunkEncoder
from tests.integration.test_classify import labelled, settings
from tests.jobs.guard.stages_for_tests import EXIT, HANG, SEGFAULT, FragileChunk
from tests.tiny import texts

DEADLY_TOKENS = 37


class FragileEncoder(EncodeAndAggregate):
    """An encoder that dies of any batch with a document of so many tokens, as of a fault in a kernel."""

    def __call__(self, documents: pa.Table) -> pa.Table:
        import os

        if any(len(ids) == DEADLY_TOKENS for ids in documents.column("_token_ids").to_pylist()):
            os._exit(9)
        return super().__call__(documents)


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
        settings(tmp_path, tmp_path / "out", tiny_checkpoint, id_column="id", shard_rows=20, document_timeout=4)
    )
    assert quarantined(tmp_path / "out") == {"d7": "crashed", "d31": "crashed", "d44": "timed_out"}
    assert (totals["labelled"], totals["quarantined"]) == (57, 3)
    assert {row["doc_id"] for row in labelled(tmp_path / "out")} == set(ids) - {"d7", "d31", "d44"}


@pytest.mark.usefixtures("ray_cluster")
def test_documents_that_kill_the_encoder(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = ChunkEncoder.from_pretrained(tiny_checkpoint, "cpu", "float32", 16, 4)
    contents = [text for text in texts(40) if encoder.chunker.views([text]).num_tokens[0] != DEADLY_TOKENS][:20]
    deadly = "law " * DEADLY_TOKENS
    assert encoder.chunker.views([deadly]).num_tokens[0] == DEADLY_TOKENS
    contents[19] = deadly
    ids = [f"d{index}" for index in range(20)]
    pq.write_table(pa.table({"id": ids, "text": contents}), tmp_path / "a.parquet")

    def run(output: str, **more: Any) -> dict[str, Any]:
        return classify.run(
            settings(tmp_path / "a.parquet", tmp_path / output, tiny_checkpoint, id_column="id", **more)
        )

    run("untroubled", shard_rows=20)
    monkeypatch.setattr("jobs.classify.EncodeAndAggregate", FragileEncoder)
    totals = run("out", shard_rows=20)
    assert quarantined(tmp_path / "out") == {"d19": "crashed"}
    assert (totals["labelled"], totals["quarantined"]) == (19, 1)
    expected = {row["doc_id"]: row["label"] for row in labelled(tmp_path / "untroubled")}
    assert {row["doc_id"]: row["label"] for row in labelled(tmp_path / "out")} == {
        name: label for name, label in expected.items() if name != "d19"
    }
