from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.pieces import Piece, to_table
from jobs.corpus.plan import make_plan
from jobs.corpus.source import Read
from jobs.guard import isolated_read
from jobs.guard.isolated_read import read_isolated
from tests.jobs.guard.stages_for_tests import Unbuildable

COLUMNS = InputColumns(id="id", keep=("page",))
ARGUMENTS = (COLUMNS, {"page": "page"}, pa.schema([("page", pa.int64())]), {})


class DeadlyRead(Read):
    """A parser that one file kills."""

    def __call__(self, pieces: pa.Table) -> pa.Table:
        if any("deadly" in source for source in pieces.column("source").to_pylist()):
            Unbuildable()
        return super().__call__(pieces)


class DeadlyRow(Read):
    """A parser that some rows kill."""

    def __call__(self, pieces: pa.Table) -> pa.Table:
        documents = super().__call__(pieces)
        for text in documents.column("_text").to_pylist():
            if text and "deadly" in text:
                os._exit(5)
            if text and "endless" in text:
                time.sleep(1000)
            if text and "storage" in text:
                time.sleep(3)
        return documents


def parquet_piece(file: Path, texts: list[str]) -> Piece:
    ids = [f"{file.stem}{index}" for index in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": texts, "page": list(range(len(texts)))}), file)
    return Piece(0, str(file), "parquet", "none", 0, len(texts), None, None, file.stat().st_size, "")


def test_a_file_that_kills_its_parser_is_quarantined_and_the_others_are_read(tmp_path: Path) -> None:
    pieces = [parquet_piece(tmp_path / f"{name}.parquet", ["one", "two"]) for name in ("good", "deadly", "fine")]
    table = to_table(pieces)
    result = read_isolated(table, DeadlyRead(*ARGUMENTS), ARGUMENTS, timeout=60)
    assert result.schema == Read(*ARGUMENTS)(table.slice(0, 1)).schema
    assert result.column("_shard_rows").to_pylist() == [6] * 6
    assert result.column("quarantine_reason").to_pylist() == [None, None, "crashed", "crashed", None, None]
    assert result.column("page").to_pylist() == [0, 1, None, None, 0, 1]
    assert result.column("doc_id").to_pylist()[2:4] == [f"{tmp_path}/deadly.parquet#0", f"{tmp_path}/deadly.parquet#1"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_row_that_kills_its_parser_is_quarantined_alone(tmp_path: Path, kind: str) -> None:
    texts = [f"text {index}" for index in range(11)]
    texts[7] = 'a "quoted",\ndeadly line'
    file = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet_piece(file, texts)
    elif kind == "jsonl":
        lines = [json.dumps({"id": f"a{index}", "text": text, "page": index}) for index, text in enumerate(texts)]
        file.write_text("\n\n".join(lines))
    else:
        quoted = [text.replace('"', '""') for text in texts]
        file.write_text("id,text,page\n" + "".join(f'a{i},"{text}",{i}\n' for i, text in enumerate(quoted)))
    plan = make_plan(list_inputs([str(file)], {}), COLUMNS, {}, shard_rows=100, shard_bytes=1 << 20, min_shards=1)
    assert plan.num_rows == 1
    result = read_isolated(plan, DeadlyRow(*ARGUMENTS), ARGUMENTS, timeout=60)
    assert result.column("row").to_pylist() == list(range(11))
    assert result.column("quarantine_reason").to_pylist() == [None] * 7 + ["crashed"] + [None] * 3
    assert result.column("_text").to_pylist() == [*texts[:7], None, *texts[8:]]
    assert result.column("_shard_rows").to_pylist() == [11] * 11


def test_halving_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_read, "MOST_DEATHS", 3)
    table = to_table([parquet_piece(tmp_path / "a.parquet", ["deadly", "a", "b", "c", "d", "e", "f", "g"])])
    result = read_isolated(table, DeadlyRow(*ARGUMENTS), ARGUMENTS, timeout=60)
    assert result.column("quarantine_reason").to_pylist() == ["crashed"] * 2 + [None] * 6


def test_what_takes_too_long_is_not_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_read, "STORAGE_SECONDS", 0)
    pieces = [
        parquet_piece(tmp_path / "a.parquet", ["a", "endless", "b"]),
        parquet_piece(tmp_path / "b.parquet", ["c"]),
    ]
    result = read_isolated(to_table(pieces), DeadlyRow(*ARGUMENTS), ARGUMENTS, timeout=5)
    assert result.column("quarantine_reason").to_pylist() == ["timed_out"] * 3 + [None]


def test_what_waits_for_the_storage_is_not_quarantined(tmp_path: Path) -> None:
    table = to_table([parquet_piece(tmp_path / "a.parquet", ["a", "storage"])])
    assert read_isolated(table, DeadlyRow(*ARGUMENTS), ARGUMENTS, timeout=1).column("quarantine_reason").null_count == 2
