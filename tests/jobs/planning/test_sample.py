from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, look_into
from jobs.planning import sample as sampling
from jobs.planning.inventory import take_inventory
from jobs.planning.sample import Sample, draw_sample
from jobs.preflight import CheckedCorpus
from tests.jobs.corpus.corpora import write_bytes, write_rows

EVERY_FORMAT = ["parquet", "jsonl", "jsonl.gz", "csv", "csv.zst", "tsv.bz2", "txt"]


def draw(folder: Path, size: int, seed: int = 0, keep: tuple[str, ...] = ()) -> Sample:
    files = list_inputs([str(folder)], {})
    columns = InputColumns(keep=keep)
    schema = check_columns(files, columns, {})
    found = list(look_into(files, columns, {}))
    corpus = CheckedCorpus(files, columns, {name: name for name in keep}, schema)
    return draw_sample(found, corpus, {}, "quarantine", size, seed)


def rows(number: int, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"document {index} " + "word " * (index % 40), **more} for index in range(number)]


@pytest.mark.parametrize("extension", EVERY_FORMAT)
def test_all_documents_of_a_small_corpus_once_and_in_order(tmp_path: Path, extension: str) -> None:
    write_rows(tmp_path, "a", extension, rows(30))
    found = draw(tmp_path, 30)
    assert found.whole
    assert found.documents.column("_text").to_pylist() == [row["text"] for row in rows(30)]


@pytest.mark.parametrize("extension", EVERY_FORMAT)
def test_a_sample_is_of_the_corpus_with_the_chances_that_it_tells(tmp_path: Path, extension: str) -> None:
    texts = {row["text"] for row in rows(200)}
    write_rows(tmp_path, "a", extension, rows(100))
    write_rows(tmp_path, "b", extension, rows(200)[100:], row_group_size=17)
    found = draw(tmp_path, 64)
    assert (found.population, found.whole, found.drawn.shape) == (200, False, (64, 1))
    assert set(found.documents.column("_text").to_pylist()) <= texts
    keys = [found.documents.column(name).to_pylist() for name in ("source", "row")]
    assert len(set(zip(*keys, strict=True))) == found.documents.num_rows
    assert set(found.drawn.ravel()) == set(range(found.documents.num_rows))
    assert draw(tmp_path, 64).documents.equals(found.documents), "the seed decides"
    assert not draw(tmp_path, 64, seed=1).documents.equals(found.documents)
    assert 100 < (1 / found.chances).mean() < 400, "documents, by the sample"


def test_long_documents_are_drawn_more_often_by_as_much_as_is_told(tmp_path: Path) -> None:
    long = [{"text": "word " * (2000 if index == 7 else 10)} for index in range(100)]
    write_rows(tmp_path, "a", "parquet", long, row_group_size=25)
    times: Counter[int] = Counter()
    chances = {}
    for seed in range(20):
        found = draw(tmp_path, 50, seed)
        numbers = np.array(found.documents.column("row").to_pylist())[found.drawn.ravel()]
        times.update(numbers.tolist())
        chances |= dict(zip(numbers.tolist(), found.chances.ravel().tolist(), strict=True))
    assert sum(chances.values()) == pytest.approx(1, abs=0.05), "nearly every document was met"
    assert times[7] / times.total() == pytest.approx(chances[7], abs=0.05)
    assert 0.3 < chances[7] < 0.45


def test_of_large_places_several_documents_are_drawn_from_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "READ_BYTES", 1)
    monkeypatch.setattr(sampling, "PLACE_BYTES", 5000)
    write_rows(tmp_path, "a", "parquet", rows(2000), row_group_size=500)
    found = draw(tmp_path, 200)
    assert found.drawn.shape == (32, 7)
    assert len(np.unique(np.array(found.documents.column("row").to_pylist()) // 25)) > 20, "from all over"


def test_a_document_that_cannot_be_labelled_is_drawn_with_its_reason(tmp_path: Path) -> None:
    write_bytes(
        tmp_path / "a.jsonl", b'{"text": "good", "n": 1}\n{"text": null, "n": 2}\nno json\n{"text": " ", "n": 3}\n'
    )
    found = draw(tmp_path, 32, keep=("n",))
    assert found.documents.column("quarantine_reason").to_pylist() == [
        None,
        "null_text",
        "malformed_record",
        "empty_text",
    ]
    assert "n" not in found.documents.column_names


def test_files_that_cannot_be_read_are_counted_and_not_drawn(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", "jsonl", rows(5))
    write_bytes(tmp_path / "b.parquet", b"no parquet")
    write_bytes(tmp_path / "c.csv", b"")
    found = list(look_into(list_inputs([str(tmp_path)], {}), InputColumns(), {}))
    inventory = take_inventory(found)
    assert (inventory.files, inventory.documents, inventory.files_without_documents) == (3, 6, 1)
    assert inventory.refused == {"unreadable_file": 1}
    assert {row.format: (row.documents, row.read) for row in inventory.formats} == {
        "jsonl": (5, "all of it"),
        "parquet": (1, "its footer"),
        "csv": (0, "all of it"),
    }
    assert draw(tmp_path, 32).population == 5


def test_a_file_that_is_read_in_part_is_not_told_as_read_whole(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", "csv", rows(3))
    write_rows(tmp_path, "b", "jsonl", rows(5))

    def read(limit: int | None) -> dict[str, str]:
        found = list(look_into(list_inputs([str(tmp_path)], {}), InputColumns(), {}, limit))
        return {row.format: row.read for row in take_inventory(found, limit).formats}

    assert read(None) == read(9) == {"csv": "all of it", "jsonl": "all of it"}
    assert read(7) == {"csv": "all of it", "jsonl": "all of it, or as far as --limit needs"}
    assert read(2) == {"csv": "all of it, or as far as --limit needs"}
