"""A document that kills the encoder's process, in a real job: it alone is quarantined. Each death costs a new actor."""

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
from tests.integration.test_poison import quarantined
from tests.tiny import texts

DEADLY_TOKENS = 37


class FragileEncoder(EncodeAndAggregate):
    """An encoder that dies of any batch with a document of so many tokens, as of a fault in a kernel."""

    def __call__(self, documents: pa.Table) -> pa.Table:
        import os

        if any(len(ids) == DEADLY_TOKENS for ids in documents.column("_token_ids").to_pylist()):
            os._exit(9)
        return super().__call__(documents)


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
