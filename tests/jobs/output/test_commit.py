from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.output.commit import Commit, embedded_schema, labelled_schema, part_name
from jobs.output.receipt import RECEIPT_KEY, Receipt, add_up

SCHEMA = labelled_schema(
    pa.string(), pa.struct([("a", pa.float32()), ("b", pa.float32())]), pa.schema([("topic", pa.int64())])
)


def block(reasons: list[str | None], shard: int = 3, planned: int | None = None) -> pa.Table:
    number = len(reasons)
    planned = number if planned is None else planned
    return pa.table(
        {
            "doc_id": [f"d{index}" for index in range(number)],
            "source": ["s"] * number,
            "row": pa.array(range(number), pa.int64()),
            "quarantine_reason": pa.array(reasons, pa.string()),
            "quarantine_detail": pa.array([reason and "why" for reason in reasons], pa.string()),
            "topic": pa.array(range(number), pa.int64()),
            "label": ["a" if index % 2 else "b" for index in range(number)],
            "score": pa.array([0.5] * number, pa.float32()),
            "scores": pa.array([{"a": 0.5, "b": 0.5}] * number, SCHEMA.field("scores").type),
            "num_tokens": pa.array([10] * number, pa.int64()),
            "num_chunks": pa.array([2] * number, pa.int32()),
            "truncated": [False] * number,
            "_shard": pa.array([shard] * number, pa.int64()),
            "_shard_rows": pa.array([planned] * number, pa.int64()),
        }
    )


def commit(folder: Path) -> Commit:
    return Commit(str(folder), {}, "job", SCHEMA)


def test_files_and_receipt_agree(tmp_path: Path) -> None:
    result = commit(tmp_path)(block([None, "null_text", None, None]))
    receipt = Receipt.from_json(result.column("receipt")[0].as_py())
    assert receipt.seconds.pop("write") > 0
    assert receipt == Receipt(
        shard=3,
        job="job",
        documents=4,
        labelled=3,
        quarantined=1,
        tokens=30,
        chunks=6,
        chunks_encoded=6,
        truncated=0,
        label_counts={"b": 2, "a": 1},
        reasons={"null_text": 1},
    )
    part = tmp_path / part_name(3)
    assert pq.read_schema(part).metadata[RECEIPT_KEY].decode() == receipt.to_json()
    assert pq.read_table(part).column("doc_id").to_pylist() == ["d0", "d2", "d3"]
    assert pq.read_table(tmp_path / "_quarantine" / part_name(3)).to_pylist() == [
        {"doc_id": "d1", "source": "s", "row": 1, "reason": "null_text", "detail": "why"}
    ]


def test_chunks_that_were_not_encoded_are_told_apart(tmp_path: Path) -> None:
    encoded = pa.array([2, 2, 1, 1], pa.int32())
    table = block([None, "null_text", None, None]).append_column("chunks_encoded", encoded)
    receipt = Receipt.from_json(commit(tmp_path)(table).column("receipt")[0].as_py())
    assert (receipt.chunks, receipt.chunks_encoded) == (6, 4)
    assert pq.read_table(tmp_path / part_name(3)).column("chunks_encoded").to_pylist() == [2, 1, 1]
    commit(tmp_path)(block([None, "null_text", None, None]))
    assert pq.read_table(tmp_path / part_name(3)).column("chunks_encoded").to_pylist() == [2, 2, 2]


def test_the_schema_is_the_same_with_and_without_rows(tmp_path: Path) -> None:
    commit(tmp_path)(block([None, None], shard=1))
    commit(tmp_path)(block(["empty_text", "empty_text"], shard=2))
    first, second = (pq.read_schema(tmp_path / part_name(shard)) for shard in (1, 2))
    assert first.remove_metadata() == second.remove_metadata() == SCHEMA


def test_committing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    commit(tmp_path)(block([None, "x", None]))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")}
    commit(tmp_path)(block([None, "x", None]))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")} == before


@pytest.mark.parametrize("wrong", ["fewer", "more", "two shards"])
def test_a_block_that_is_not_the_planned_shard_is_never_written(tmp_path: Path, wrong: str) -> None:
    blocks: dict[str, Any] = {
        "fewer": block([None] * 3, planned=4),
        "more": block([None] * 5, planned=4),
        "two shards": pa.concat_tables([block([None] * 2, 1, 4), block([None] * 2, 2, 4)]),
    }
    with pytest.raises(AssertionError, match="report this as a bug"):
        commit(tmp_path)(blocks[wrong])
    assert not list(tmp_path.rglob("*.parquet"))


def test_receipts_add_up() -> None:
    one = Receipt(1, "j", 3, 2, 1, 30, 6, 1, {"a": 2}, {"null_text": 1})
    two = Receipt(2, "j", 2, 2, 0, 10, 2, 0, {"a": 1, "b": 1}, {})
    total = add_up([one, two])
    assert (total.documents, total.labelled, total.quarantined, total.truncated) == (5, 4, 1, 1)
    assert (total.label_counts, total.reasons) == ({"a": 3, "b": 1}, {"null_text": 1})


def test_a_file_quarantined_whole_is_a_row_without_number_and_is_counted(tmp_path: Path) -> None:
    table = block([None, "wrong_schema", "null_text"])
    table = table.set_column(table.column_names.index("row"), "row", pa.array([0, None, 2], pa.int64()))
    receipt = Receipt.from_json(commit(tmp_path)(table).column("receipt")[0].as_py())
    assert (receipt.documents, receipt.quarantined, receipt.files_quarantined) == (3, 2, 1)
    assert add_up([receipt, receipt]).files_quarantined == 2
    rows = pq.read_table(tmp_path / "_quarantine" / part_name(3)).to_pylist()
    assert [row["row"] for row in rows] == [None, 2]


def test_what_a_store_keeps_is_not_counted_as_given(tmp_path: Path) -> None:
    kept = pa.schema([("label", pa.large_list(pa.string())), ("chunks_encoded", pa.string())])
    spans = pa.array([[0, 3], [0, 3]], pa.large_list(pa.int32()))
    vectors = pa.array([[[1, 2], [3, 4]]] * 2, pa.large_list(pa.list_(pa.float16(), 2)))
    tokens = {"token_bag_ids": pa.array([[7]] * 2, pa.large_list(pa.uint32()))}
    tokens["token_bag_counts"] = pa.array([[1]] * 2, pa.large_list(pa.int32()))
    documents = block([None, None]).drop_columns(["label", "score", "scores"])
    columns = {"chunk_vectors": vectors, "chunk_starts": spans, "chunk_lengths": spans, **tokens}
    columns["label"] = pa.array([["a"], ["a", "b"]], pa.large_list(pa.string()))
    columns["chunks_encoded"] = pa.array(["some", "all"])
    for name, column in columns.items():
        documents = documents.append_column(name, column)
    store = Commit(str(tmp_path), {}, "job", embedded_schema(2, kept), stores_vectors=True)
    receipt = store(documents).column("receipt")[0].as_py()
    assert Receipt.from_json(receipt).label_counts == {}
    assert Receipt.from_json(receipt).chunks_encoded == 4
    assert pq.read_table(tmp_path / part_name(3)).column("label").to_pylist() == [["a"], ["a", "b"]]


def test_a_kept_column_may_be_called_as_a_store_s(tmp_path: Path) -> None:
    schema = SCHEMA.append(pa.field("chunk_vectors", pa.string()))
    documents = block([None, None, None]).append_column("chunk_vectors", pa.array(["x", "y", "z"]))
    receipt = Commit(str(tmp_path), {}, "job", schema)(documents).column("receipt")[0].as_py()
    assert Receipt.from_json(receipt).label_counts == {"a": 1, "b": 2}
    assert pq.read_table(tmp_path / part_name(3)).column("chunk_vectors").to_pylist() == ["x", "y", "z"]
