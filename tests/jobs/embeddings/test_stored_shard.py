from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.corpus.pieces import Piece, to_table
from jobs.embeddings.stored_shard import ReadStored, read_stored_isolated
from jobs.measures import add_measures
from jobs.output.commit import Commit, embedded_schema
from jobs.stages.columns import ragged, read_bags
from strideformer.errors import StrideformerError

HIDDEN = 2


class DeadlyReadStored(ReadStored):
    """A reader that the part kills."""

    def __call__(self, pieces: pa.Table) -> pa.Table:
        os._exit(5)


@pytest.fixture
def pieces(tmp_path: Path) -> pa.Table:
    """The one part of a store of three documents, of which the second is quarantined."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float16)), HIDDEN)
    spans = ragged(np.array([0, 3, 3, 4]), np.zeros(4, np.int32))
    table = pa.table(
        {
            "doc_id": ["a", "b", "c"],
            "chunk_vectors": ragged(np.array([0, 3, 3, 4]), vectors),
            "chunk_starts": spans,
            "chunk_lengths": spans,
            "token_bag_ids": ragged(np.array([0, 2, 2, 3]), np.array([7, 9, 7], np.uint32)),
            "token_bag_counts": ragged(np.array([0, 2, 2, 3]), np.array([1, 2, 3], np.int32)),
            "num_tokens": pa.array([9, 0, 3], pa.int64()),
            "num_chunks": pa.array([3, 0, 1], pa.int32()),
            "truncated": [False] * 3,
            "source": ["in.parquet"] * 3,
            "row": pa.array([0, 1, 2], pa.int64()),
            "topic": pa.array([5, 6, 7], pa.int64()),
            "quarantine_reason": [None, "empty_text", None],
            "quarantine_detail": [None, "it is empty", None],
            "_shard": pa.array([0] * 3, pa.int64()),
            "_shard_rows": pa.array([3] * 3, pa.int64()),
        }
    )
    schema = embedded_schema(HIDDEN, pa.schema([("topic", pa.int64())]))
    Commit(str(tmp_path), {}, "job", schema, stores_vectors=True)(add_measures(table, read=1.0))
    part = tmp_path / "part-00000000.parquet"
    return to_table([Piece(0, str(part), "parquet", "none", 0, 3, None, None, part.stat().st_size, "")])


def test_a_stored_shard_is_as_the_encode_stage_gives_it(tmp_path: Path, pieces: pa.Table) -> None:
    arguments = (str(tmp_path), {"topic": "subject"}, {})
    table = ReadStored(*arguments)(pieces)
    assert table.column("doc_id").to_pylist() == ["a", "b", "c"]
    assert table.column("quarantine_reason").to_pylist() == [None, "empty_text", None]
    assert table.column("_chunk_vectors").to_pylist() == [[[0, 1], [2, 3], [4, 5]], None, [[6, 7]]]
    assert table.column("_first_alike").to_pylist() == [0, 1, 2]
    assert table.column("subject").to_pylist() == [5, None, 7]
    apart = read_stored_isolated(pieces, ReadStored(*arguments), arguments, timeout=60)
    assert apart.drop_columns(["_measures"]).equals(table.drop_columns(["_measures"]))
    assert not any("token_bag" in name for name in table.column_names)


def test_a_stored_shard_has_its_tokens_where_the_model_reads_them(tmp_path: Path, pieces: pa.Table) -> None:
    bags = read_bags(ReadStored(str(tmp_path), {}, {}, bags=True)(pieces), "_")
    assert bags.ids.tolist() == [7, 9, 7]
    assert bags.counts.tolist() == [1, 2, 3]
    assert bags.sizes.tolist() == [2, 0, 1]


def test_a_column_that_the_output_has_too_is_kept_under_another_name(tmp_path: Path, pieces: pa.Table) -> None:
    table = ReadStored(str(tmp_path), {"source": "input_source", "num_tokens": "read"}, {})(pieces)
    plain = ReadStored(str(tmp_path), {}, {})(pieces)
    assert table.column("input_source").equals(plain.column("source"))
    assert table.drop_columns(["input_source", "read", "_measures"]).equals(plain.drop_columns(["_measures"]))


def test_a_part_that_kills_its_reader_is_named(tmp_path: Path, pieces: pa.Table) -> None:
    arguments = (str(tmp_path), {}, {})
    with pytest.raises(StrideformerError, match=r"part-00000000\.parquet ends the process .*exit status 5.*--resume"):
        read_stored_isolated(pieces, DeadlyReadStored(*arguments), arguments, timeout=60)
