"""The classify job end to end on a real Ray cluster with at least two encoder actors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs import classify
from jobs.settings import ClassifySettings
from strideformer import Pipeline
from strideformer.errors import StrideformerError
from tests.tiny import LABELS, write_corpus

pytestmark = pytest.mark.usefixtures("ray_cluster")


def settings(inputs: Path | list[Path], output: Path | str, model: Path, **more: Any) -> ClassifySettings:
    sources = inputs if isinstance(inputs, list) else [inputs]
    # Two encoders where it matters how work is shared; one elsewhere, since each takes seconds to import torch.
    defaults: dict[str, Any] = {"encoders": "1", "progress": "none", "device": "cpu", "dtype": "float32"}
    return ClassifySettings(
        inputs=[str(source) for source in sources], output=str(output), model=str(model), **(defaults | more)
    )


def labelled(output: Path | str) -> list[dict[str, Any]]:
    return (
        ds.dataset(str(output), format="parquet")
        .to_table()
        .sort_by([("source", "ascending"), ("row", "ascending")])
        .to_pylist()
    )


def quarantined(output: Path) -> dict[tuple[str, int], str]:
    rows = ds.dataset(str(output / "_quarantine"), format="parquet").to_table().to_pylist()
    return {(Path(row["source"]).name, row["row"]): row["reason"] for row in rows}


def test_labels_are_those_of_the_pipeline(tmp_path: Path, tiny_checkpoint: Path) -> None:
    ids = write_corpus(tmp_path / "in" / "a.parquet", 60)
    totals = classify.run(
        settings(
            tmp_path / "in",
            tmp_path / "out",
            tiny_checkpoint,
            id_column="doc_id",
            keep_columns=["topic", "text"],
            shard_rows=7,
            encoders="2",
            device="auto",  # and so a GPU each, as far as Ray knows
        )
    )
    rows = labelled(tmp_path / "out")
    assert [row["doc_id"] for row in rows] == ids
    assert [row["topic"] for row in rows] == [index % 7 for index in range(60)]
    pipeline = Pipeline(tiny_checkpoint, device="cpu", dtype="float32")
    for row, prediction in zip(rows, pipeline([row["text"] for row in rows]), strict=True):
        assert row["label"] == prediction.label
        assert row["score"] == pytest.approx(prediction.score, abs=2e-3)
        assert row["scores"] == pytest.approx(prediction.scores, abs=2e-3)
        assert row["truncated"] == prediction.truncated
        assert row["num_chunks"] == min(8, max(1, -(-(row["num_tokens"] - 4) // 10)))
    assert any(row["truncated"] for row in rows)
    assert totals["documents"] == totals["labelled"] == 60
    assert totals["tokens"] == sum(row["num_tokens"] for row in rows)
    assert totals["chunks"] == totals["chunks_encoded"] == sum(row["num_chunks"] for row in rows)
    assert all(row["chunks_encoded"] == row["num_chunks"] for row in rows)
    assert sum(totals["labels"].values()) == 60
    assert set(totals["labels"]) <= set(LABELS)
    assert len({row["label"] for row in rows}) > 1
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text()) == totals
    parts = sorted(tmp_path.glob("out/part-*.parquet"))
    plan = pq.read_table(tmp_path / "out" / "_strideformer" / "plan.parquet")
    assert len(parts) == len(set(plan.column("shard").to_pylist())) == totals["shards"]
    assert max(pq.read_metadata(part).num_rows for part in parts) <= 7
    assert not (tmp_path / "out" / "_strideformer" / "tmp").exists()


@pytest.mark.parametrize("aggregators", [0, 1])
def test_aggregators_of_their_own_give_the_same_labels(tmp_path: Path, tiny_checkpoint: Path, aggregators: int) -> None:
    write_corpus(tmp_path / "a.parquet", 30)
    classify.run(
        settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, aggregators=aggregators, shard_rows=5)
    )
    pipeline = Pipeline(tiny_checkpoint, device="cpu", dtype="float32")
    given = pq.read_table(tmp_path / "a.parquet").column("text").to_pylist()
    expected = [prediction.label for prediction in pipeline(given)]
    assert [row["label"] for row in labelled(tmp_path / "out")] == expected


def test_identical_documents_early_exit_and_the_profile_are_in_success(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "a.parquet", 6)
    once = pq.read_table(tmp_path / "a.parquet").select(["text"])
    pq.write_table(once.take([index // 2 for index in range(12)]), tmp_path / "a.parquet")
    more: dict[str, Any] = {"profile": True, "progress": "plain", "shard_rows": 12, "early_exit": 0.6, "max_chunks": 32}
    totals = classify.run(settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, **more))
    rows = labelled(tmp_path / "out")
    found = [(row["label"], row["num_tokens"], row["chunks_encoded"]) for row in rows]
    assert found[::2] == found[1::2]
    assert all(0 < row["chunks_encoded"] <= row["num_chunks"] for row in rows)
    assert totals["chunks_encoded"] == sum(row["chunks_encoded"] for row in rows) < totals["chunks"]
    assert totals["tokens"] == sum(row["num_tokens"] for row in rows)
    # Documents are compared within their shard, and the job makes several of these few.
    assert 0 < totals["duplicates"] <= 6
    profile = json.loads((tmp_path / "out" / "_SUCCESS").read_text())["profile"]
    assert all(profile["seconds"][stage] >= 0 for stage in profile["seconds"])
    assert profile["seconds"]["forward"] > 0
    assert profile["seconds"]["write_and_commit"] > 0
    assert 0 < profile["device_share"] <= 1
    shown = capsys.readouterr().out
    assert "tokenise and chunk" in shown
    assert "The device computed for" in shown
    assert "chunks encoded" in shown
    assert profile["tokenizer"]["segments"] > 0
    assert "tokenised by" in shown


def test_what_cannot_be_labelled_is_quarantined_and_the_job_goes_on(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = ["court law", None, "", "  \n\t ", "law", b"\xff\xfe", "tax"]
    pq.write_table(
        pa.table(
            {
                "id": pa.array(["a", "b", "c", "d", None, "f", "a"]),
                "text": pa.array([t if isinstance(t, bytes | None) else t.encode() for t in texts], pa.binary()),
            }
        ),
        folder / "a.parquet",
    )
    (folder / "b.jsonl").write_text(
        '{"id": 1, "text": "union"}\n{"id": 2, "text": 17}\n{"id": 3, "text": ["x"]}\n{"id": 4, "te\n'
        '{"id": 5, "text": "\\ud800 speech"}\n{"id": 6, "text": "privacy \\u00e9"}\n'
    )
    totals = classify.run(settings(folder, tmp_path / "out", tiny_checkpoint, id_column="id"))
    assert quarantined(tmp_path / "out") == {
        ("a.parquet", 1): "null_text",
        ("a.parquet", 2): "empty_text",
        ("a.parquet", 3): "empty_text",
        ("a.parquet", 5): "undecodable_text",
        ("b.jsonl", 1): "not_a_string",
        ("b.jsonl", 2): "not_a_string",
        ("b.jsonl", 3): "malformed_record",
        ("b.jsonl", 4): "undecodable_text",
    }
    rows = labelled(tmp_path / "out")
    # A null id is made from source#row; a doubled id keeps both rows, told apart by source and row.
    assert [row["doc_id"] for row in rows] == ["a", f"{folder}/a.parquet#4", "a", "1", "6"]
    assert (totals["documents"], totals["labelled"], totals["quarantined"]) == (13, 5, 8)


def test_a_shard_without_a_single_label_still_counts(tmp_path: Path, tiny_checkpoint: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tmp_path / "a.parquet")
    totals = classify.run(settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint))
    assert (totals["documents"], totals["labelled"], totals["quarantined"]) == (2, 0, 2)
    assert ds.dataset(str(tmp_path / "out"), format="parquet").to_table().num_rows == 0


def test_pairs(tmp_path: Path, tiny_checkpoint: Path) -> None:
    claims, articles = ["tax law", "court", "union " * 14], ["speech privacy " * 40, "law", "court"]
    pq.write_table(pa.table({"claim": claims, "article": articles}), tmp_path / "a.parquet")
    classify.run(
        settings(
            tmp_path / "a.parquet",
            tmp_path / "out",
            tiny_checkpoint,
            text_column="claim",
            pair_column="article",
        )
    )
    rows = labelled(tmp_path / "out")
    pipeline = Pipeline(tiny_checkpoint, device="cpu", dtype="float32")
    expected = pipeline(list(zip(claims[:2], articles[:2], strict=True)))
    assert [row["label"] for row in rows] == [prediction.label for prediction in expected]
    # A first text that leaves no room for the second cannot be cut: that document alone is set aside.
    assert quarantined(tmp_path / "out") == {("a.parquet", 2): "chunking_failed"}


def test_limit_and_many_inputs(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 10)
    write_corpus(tmp_path / "b.parquet", 10)
    totals = classify.run(
        settings([tmp_path / "b.parquet", tmp_path / "a.parquet"], tmp_path / "out", tiny_checkpoint, limit=13)
    )
    assert totals["documents"] == 13
    sources = [Path(row["source"]).name for row in labelled(tmp_path / "out")]
    assert sources == ["a.parquet"] * 10 + ["b.parquet"] * 3


def test_output_that_holds_something_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    call = settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint)
    with pytest.raises(StrideformerError, match=r"not empty \(it holds 'thesis.tex'\)"):
        classify.run(call)
    with pytest.raises(StrideformerError, match="no job of strideformer to resume"):
        classify.run(call.model_copy(update={"resume": True}))
    classify.run(call.model_copy(update={"overwrite": True}))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
    with pytest.raises(StrideformerError, match="use --resume to go on with it or --overwrite"):
        classify.run(call)


def test_overwrite_leaves_nothing_of_the_earlier_job(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_corpus(tmp_path / "a.parquet", 20)
    classify.run(settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, shard_rows=2))
    write_corpus(tmp_path / "a.parquet", 4)
    with pytest.raises(StrideformerError, match="500 encoders"):
        classify.run(
            settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, overwrite=True, encoders="500")
        )
    assert len(labelled(tmp_path / "out")) == 20  # a call that is wrong deletes nothing
    classify.run(settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, overwrite=True))
    assert len(labelled(tmp_path / "out")) == 4
