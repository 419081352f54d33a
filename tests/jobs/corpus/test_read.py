import json
import uuid

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from jobs.corpus import storage
from jobs.corpus.columns import InputColumns
from tests.jobs.corpus.corpora import delimited, jsonl, read_all, reasons, write_bytes, write_parquet, write_rows

NO_COLUMNS = pa.schema([])


def test_the_columns_of_a_shard(tmp_path):
    rows = [{"n": 1, "text": "long", "claim": "short", "key": "k1", "label": None}]
    write_rows(tmp_path, "a", "parquet", rows)
    table, _ = read_all(tmp_path, InputColumns("claim", pair="text", id="key", keep=("label", "n")))
    assert table.schema == pa.schema(
        [
            ("doc_id", pa.string()),
            ("source", pa.string()),
            ("row", pa.int64()),
            ("_shard", pa.int64()),
            ("_text", pa.large_string()),
            ("_text_pair", pa.large_string()),
            ("quarantine_reason", pa.string()),
            ("quarantine_detail", pa.string()),
            ("label", pa.string()),
            ("n", pa.int64()),
        ]
    )
    assert table.to_pylist() == [
        {
            "doc_id": "k1",
            "source": str(tmp_path / "a.parquet"),
            "row": 0,
            "_shard": 0,
            "_text": "short",
            "_text_pair": "long",
            "quarantine_reason": None,
            "quarantine_detail": None,
            "label": None,
            "n": 1,
        }
    ]


def test_a_long_blank_text_is_empty_and_a_long_indent_is_not(tmp_path):
    write_parquet(tmp_path / "a.parquet", text=[" " * 5000, " " * 5000 + "x"])
    assert reasons(read_all(tmp_path)[0]) == ["empty_text", None]


def test_a_later_file_of_another_type_is_quarantined_row_by_row(tmp_path):
    write_parquet(tmp_path / "a.parquet", text=["fine"])
    write_parquet(tmp_path / "b.parquet", text=[1, None])
    write_parquet(tmp_path / "c.parquet", text=[["list"]])
    table, plan = read_all(tmp_path)
    assert plan["shard"].to_pylist() == [0, 0, 0]
    assert reasons(table) == [None, "not_a_string", "null_text", "not_a_string"]
    assert "int64" in table["quarantine_detail"].to_pylist()[1]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7, None, 9], ["7", "{source}#1", "9"]),
        (["a", None, ""], ["a", "{source}#1", "{source}#2"]),
        ([b"a", None, b"c"], ["a", "{source}#1", "c"]),
        (["same", "same", None], ["same", "same", "{source}#2"]),
    ],
)
def test_ids_are_strings_and_made_where_there_is_none(tmp_path, ids, expected):
    write_parquet(tmp_path / "a.parquet", text=["x"] * 3, key=ids)
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert table["doc_id"].to_pylist() == [e.format(source=tmp_path / "a.parquet") for e in expected]
    assert reasons(table) == [None] * 3


def test_uuids_are_ids_in_their_usual_form(tmp_path):
    ids = [None if row % 5 == 3 else uuid.UUID(int=row << 64 | 0xA) for row in range(20)]
    keys = pa.array([each and each.bytes for each in ids], pa.uuid())
    table = pa.table({"text": ["x"] * 20, "key": keys})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    read, _ = read_all(tmp_path, InputColumns(id="key", keep=("key",)), shard_rows=4)
    expected = [f"{tmp_path}/a.parquet#{row}" if each is None else str(each) for row, each in enumerate(ids)]
    assert read["doc_id"].to_pylist() == expected
    assert reasons(read) == [None] * 20
    assert read["key"].to_pylist() == ids


def test_bytes_of_a_fixed_number_are_text_or_digits(tmp_path):
    keys = pa.array([b"ab12", b"\xff\x00\x01\x02", None], pa.binary(4))
    pq.write_table(pa.table({"text": ["x"] * 3, "key": keys}), tmp_path / "a.parquet")
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert table["doc_id"].to_pylist() == ["ab12", "ff000102", f"{tmp_path}/a.parquet#2"]
    assert reasons(table) == [None] * 3


def test_rows_count_from_the_begin_of_their_file_in_every_shard(tmp_path):
    write_rows(tmp_path, "a", "parquet", [{"text": f"{i}"} for i in range(10)], row_group_size=7)
    table, plan = read_all(tmp_path, shard_rows=2)
    assert plan.num_rows > 4
    assert table["row"].to_pylist() == list(range(10))
    assert table["doc_id"].to_pylist() == [f"{tmp_path}/a.parquet#{i}" for i in range(10)]


def test_pairs_need_both_texts(tmp_path):
    rows = [
        {"claim": "a", "text": "b"},
        {"claim": None, "text": "b"},
        {"claim": "a", "text": None},
        {"claim": "a", "text": " "},
    ]
    write_rows(tmp_path, "a", "parquet", rows, row_group_size=10)
    table, _ = read_all(tmp_path, InputColumns("claim", pair="text"))
    assert reasons(table) == [None, "null_text", "null_text", "empty_text"]
    assert [d and d.split("'")[1] for d in table["quarantine_detail"].to_pylist()] == [None, "claim", "text", "text"]
    assert table["_text"].to_pylist() == ["a", None, None, None]
    assert table["_text_pair"].to_pylist() == ["b", None, None, None]


def test_text_files_are_a_document_each(tmp_path):
    contents = {
        "a.txt": b"\xef\xbb\xbfwith a mark\r\n",
        "b.md": b"# title\n\ntext\n",
        "c.txt": b"",
        "d.txt": b"\xff\xfeU\x00",
        "e.txt.gz": "gepackt ü".encode(),
    }
    for name, content in contents.items():
        write_bytes(tmp_path / name, content)
    table, plan = read_all(tmp_path)
    assert plan.num_rows == 5
    assert table["_text"].to_pylist() == ["with a mark\r\n", "# title\n\ntext\n", None, None, "gepackt ü"]
    assert reasons(table) == [None, None, "empty_text", "undecodable_text", None]
    assert table["doc_id"].to_pylist()[0] == f"{tmp_path}/a.txt#0"


def test_formats_mix_where_the_columns_are_there(tmp_path):
    for number, extension in enumerate(["parquet", "jsonl", "csv", "tsv.gz", "txt"]):
        write_rows(tmp_path, str(number), extension, [{"text": f"text {number}", "label": number}])
    table, plan = read_all(tmp_path)
    assert plan["shard"].to_pylist() == [0] * 5
    assert table["_text"].to_pylist() == [f"text {i}" for i in range(5)]


def test_several_members_of_one_compressed_file_are_all_read(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.bz2", "c.jsonl.zst"):
        part = tmp_path / f"_part.{name}"
        whole = b"".join(write_bytes(part, jsonl([{"text": f"{name} {i}"}])).read_bytes() for i in range(3))
        (tmp_path / name).write_bytes(whole)
    table, _ = read_all(tmp_path)
    assert table["_text"].to_pylist() == [
        f"{n} {i}" for n in ("a.jsonl.gz", "b.jsonl.bz2", "c.jsonl.zst") for i in range(3)
    ]


def test_kept_values_that_do_not_cast_are_quarantined_alone(tmp_path):
    write_parquet(tmp_path / "a.parquet", text=["a"], n=pa.array([1], pa.int32()))
    write_parquet(tmp_path / "b.parquet", text=["b", "c", "d"], n=["2", "many", None])
    write_parquet(tmp_path / "c.parquet", text=["e", "f"], n=pa.array([3, 1 << 40]))
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert table["n"].to_pylist() == [1, 2, None, None, 3, None]
    assert reasons(table) == [None, None, "bad_column", None, None, "bad_column"]
    assert "column 'n' is no int32" in table["quarantine_detail"].to_pylist()[2]


def test_the_text_and_id_columns_may_be_kept_too(tmp_path):
    for extension in ("parquet", "jsonl", "csv"):
        write_rows(tmp_path, extension, extension, [{"text": "a", "key": "k"}])
        for suffix in (b"",) if extension != "jsonl" else (b"", b"torn\n"):
            with (tmp_path / f"{extension}.{extension}").open("ab") as file:
                file.write(suffix)
            table, _ = read_all(tmp_path / f"{extension}.{extension}", InputColumns(id="key", keep=("text", "key")))
            assert table.select(["doc_id", "_text", "text", "key"]).to_pylist()[0] == {
                "doc_id": "k",
                "_text": "a",
                "text": "a",
                "key": "k",
            }


def test_good_shards_are_parsed_by_pyarrow_and_not_line_by_line(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a.jsonl", jsonl([{"text": "a", "key": 1, "n": 2.5}]) * 50)
    write_bytes(tmp_path / "b.csv", delimited([{"text": 'a "quoted", b', "key": 1, "n": 2.5}] * 50))

    def slow(*_arguments):
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr("jobs.corpus.jsonl._read_line_by_line", slow)
    monkeypatch.setattr("jobs.corpus.delimited._read_record_by_record", slow)
    for name in ("a.jsonl", "b.csv"):
        table, _ = read_all(tmp_path / name, InputColumns(id="key", keep=("n",)))
        assert table.num_rows == 50
        assert table["doc_id"].to_pylist() == ["1"] * 50


def test_the_corpus_modules_import_neither_torch_nor_ray_nor_pandas():
    import subprocess
    import sys

    program = (
        "import sys, json; import jobs.corpus.read, jobs.corpus.plan, jobs.corpus.listing;"
        "print(json.dumps(sorted({'torch', 'ray', 'pandas', 'transformers', 's3fs'} & set(sys.modules))))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
    assert storage.__name__ == "jobs.corpus.storage"
