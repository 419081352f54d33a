"""The table of jobs/corpus/README.md, a test a row. The large ones are at full size in tests/heavy."""

import gzip
import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.corpus import formats, packing, records
from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.pieces import WHOLE_FILE
from jobs.corpus.plan import check_columns, files_without_documents, make_plan
from jobs.corpus.read import read_shard
from strideformer.errors import StrideformerError
from tests.jobs.corpus.corpora import jsonl, read_all, reasons, write_bytes, write_parquet, write_rows

GOOD = [{"text": "fine"}, {"text": "also fine"}]


def parquet_bytes(table=None, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a", "b"]}) if table is None else table, sink, **options)
    return sink.getvalue().to_pybytes()


# file name, content, reason, words of the detail
BAD_FILES = [
    ("a.parquet", b"", "unreadable_file", "no Parquet file"),
    ("a.parquet", parquet_bytes()[:-9], "unreadable_file", "no Parquet file"),
    ("a.parquet", parquet_bytes()[: len(parquet_bytes()) // 2], "unreadable_file", "no Parquet file"),
    ("a.parquet", b"PAR1 nonsense PAR1", "unreadable_file", "no Parquet file"),
    ("a.parquet", parquet_bytes(pa.table({"body": ["x"]})), "wrong_schema", "no column 'text': it has 'body'"),
    ("a.jsonl", b'{"body": "x"}\n', "wrong_schema", "no column 'text': it has 'body'"),
    ("a.jsonl", b'[{"text": "a"}]', "unreadable_file", "one JSON array"),
    ("a.jsonl", b"\x00\xff nonsense\n", "unreadable_file", "no line that is a JSON object"),
    ("a.csv", b"body\nx\n", "wrong_schema", "no column 'text'"),
    ("a.csv", b"text,text\na,b\n", "wrong_schema", "two columns named 'text'"),
    ("a.csv", b"t\xffxt\na\n", "unreadable_file", "header that cannot be read"),
    ("a.jsonl.gz", gzip.compress(jsonl([{"text": str(i)} for i in range(9999)]))[:-99], "unreadable_file", "Truncated"),
    ("a.csv.gz", b"no gzip at all", "unreadable_file", "does not decompress as gzip"),
    ("a.jsonl.zst", b"\x28\xb5\x2f\xfd", "unreadable_file", "does not decompress as zstd"),
]


@pytest.mark.parametrize(("name", "content", "reason", "words"), BAD_FILES)
def test_a_bad_file_is_one_quarantined_document_among_good_ones(tmp_path, name, content, reason, words):
    (tmp_path / name).write_bytes(content)
    write_rows(tmp_path, "b", "jsonl", GOOD)
    table, plan = read_all(tmp_path, InputColumns(keep=("text",)))
    assert reasons(table) == [reason, None, None]
    assert words in table["quarantine_detail"][0].as_py()
    first = table.select(["doc_id", "source", "row", "_text"]).to_pylist()[0]
    assert first == {"doc_id": None, "source": str(tmp_path / name), "row": None, "_text": None}
    assert plan["row_start"].to_pylist() == [WHOLE_FILE, 0]
    with pytest.raises(StrideformerError, match=f"{name}.*{words}"):
        make_plan(list_inputs([str(tmp_path)], {}), InputColumns(), {}, on_bad_file="fail")


@pytest.mark.parametrize("content", [b"text of a file cut short " * 999, os.urandom(5000)])
def test_a_compressed_text_cut_short_is_quarantined(tmp_path, content):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content)[:-9])
    (tmp_path / "b.txt").write_bytes(b"fine")
    table, _ = read_all(tmp_path)
    assert reasons(table) == ["unreadable_file", None]
    assert table["doc_id"][0].as_py() == f"{tmp_path}/a.txt.gz#0"


def test_the_same_fault_in_every_file_is_a_wrong_call(tmp_path):
    for number in range(260):
        write_bytes(tmp_path / f"{number}.jsonl", jsonl([{"body": "x"}]))
    files = list_inputs([str(tmp_path)], {})
    with pytest.raises(
        StrideformerError, match=r"none of the 257 files looked at can be used; .*0.jsonl has no column"
    ):
        check_columns(files, InputColumns(), {})
    with pytest.raises(StrideformerError, match=r"0.jsonl has no column 'text'"):
        make_plan(files, InputColumns(), {})


def test_the_first_file_may_be_the_bad_one(tmp_path):
    write_parquet(tmp_path / "a.parquet", text=[["list"]], n=["x"])
    write_parquet(tmp_path / "b.parquet", body=["x"])
    write_parquet(tmp_path / "c.parquet", text=["fine"], n=[3])
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert reasons(table) == ["not_a_string", "wrong_schema", None]
    assert table["n"].to_pylist()[2] == 3
    files = list_inputs([str(tmp_path)], {})
    with pytest.raises(StrideformerError, match=r"a.parquet: column 'text' holds list"):
        check_columns(files, InputColumns(), {}, "fail")


def test_empty_files_hold_no_documents_and_are_counted(tmp_path):
    for name in ("a.jsonl", "b.csv", "c.tsv"):
        (tmp_path / name).write_bytes(b"")
    write_bytes(tmp_path / "d.jsonl.gz", b"\n\n")
    write_rows(tmp_path, "e", "jsonl", GOOD)
    table, plan = read_all(tmp_path)
    assert table.num_rows == 2
    assert files_without_documents(plan) == {"files_without_documents": 4}


def test_nul_bytes_are_text(tmp_path):
    write_parquet(tmp_path / "a.parquet", text=["a\x00b", "\x00"])
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "c\\u0000d"}\n{"text": "raw \x00 nul"}\n')
    (tmp_path / "c.csv").write_bytes(b"text\ne\x00f\n")
    (tmp_path / "d.txt").write_bytes(b"g\x00h")
    table, _ = read_all(tmp_path)
    assert reasons(table) == [None, None, None, "malformed_record", None, None]
    assert table["_text"].to_pylist() == ["a\x00b", "\x00", "c\x00d", None, "e\x00f", "g\x00h"]


@pytest.fixture
def small_largest(monkeypatch):
    """Records of more than 10 kB are too large, and blocks are of 1 kB."""
    for module in (records, formats, packing):
        monkeypatch.setattr(module, "LARGEST_RECORD", 10_000)
    monkeypatch.setattr(records, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(formats, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(formats, "_SAMPLE_BYTES", 1000)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_json_line_that_is_too_large_is_quarantined_alone_and_never_read(tmp_path, small_largest, suffix, place):
    rows = [{"text": f"{i}"} for i in range(3)]
    rows.insert(place, {"text": "x" * 50_000})
    write_bytes(tmp_path / f"a.jsonl{suffix}", jsonl(rows))
    table, plan = read_all(tmp_path)
    assert [reason for reason in reasons(table) if reason] == ["record_too_large"]
    assert reasons(table).index("record_too_large") == place
    assert table["row"].to_pylist() == [0, 1, 2, 3]
    assert [text for text in table["_text"].to_pylist() if text] == ["0", "1", "2"]
    assert len(plan["shard"].unique()) == 1


def test_a_file_of_nothing_but_too_large_lines_is_not_passed_over(tmp_path, small_largest):
    write_bytes(tmp_path / "a.jsonl.gz", jsonl([{"text": "x" * 50_000}] * 2))
    table, _ = read_all(tmp_path)
    assert reasons(table) == ["record_too_large"] * 2


def test_a_text_that_is_too_large_is_quarantined(tmp_path, small_largest):
    for name in ("a.txt", "b.txt.gz"):
        write_bytes(tmp_path / name, b"x" * 10_001)
    write_bytes(tmp_path / "c.txt", b"x" * 10_000)
    assert reasons(read_all(tmp_path)[0]) == ["record_too_large", "record_too_large", None]


@pytest.mark.parametrize("content", [b'text\na\n"never closed' + b"\nx" * 20_000, b'"te' + b"\nx" * 20_000])
def test_a_csv_with_a_quote_that_is_never_closed_is_quarantined_whole(tmp_path, small_largest, content):
    (tmp_path / "a.csv").write_bytes(content)
    write_rows(tmp_path, "b", "jsonl", GOOD)
    table, _ = read_all(tmp_path)
    assert reasons(table) == ["record_too_large", None, None]
    assert table["row"][0].as_py() is None


def test_a_large_document_is_read_whole(tmp_path):
    large = "long words " * 100_000
    for extension in ("parquet", "jsonl", "csv", "txt"):
        write_rows(tmp_path, extension, extension, [{"text": large}])
    table, _ = read_all(tmp_path)
    assert table["_text"].to_pylist() == [large] * 4


def test_one_large_row_group_is_read_in_parts(tmp_path):
    write_rows(tmp_path, "a", "parquet", [{"text": f"{i}"} for i in range(5000)], row_group_size=5000)
    table, plan = read_all(tmp_path, shard_rows=300)
    assert table["_text"].to_pylist() == [f"{i}" for i in range(5000)]
    assert plan.num_rows == 17


def test_many_tiny_files_are_put_into_few_shards(tmp_path):
    for number in range(600):
        (tmp_path / f"{number}.txt").write_bytes(b"tiny")
    table, plan = read_all(tmp_path)
    assert table.num_rows == 600
    assert len(plan["shard"].unique()) == 2


@pytest.mark.parametrize("name", ["a b", "Grüße/東京 🙂", "100%25/a+b", "[x]/{y}", "quote's", "e\u0301"])
def test_folders_with_spaces_and_unicode(tmp_path, name):
    write_rows(tmp_path / "in" / name, "a file", "jsonl", GOOD)
    for given in (tmp_path / "in", tmp_path / "in" / name, f"{tmp_path}/in/*/**", tmp_path / "in" / name / "*.jsonl"):
        if "[" in name and "*" in str(given)[-7:]:
            continue  # a [ of a folder's own is a wildcard there
        table, _ = read_all(given)
        assert set(table["source"].to_pylist()) == {str(tmp_path / "in" / name / "a file.jsonl")}
        assert reasons(table) == [None, None]


def planned(folder, extension):
    write_rows(folder, "a", extension, [{"text": "before"}])
    write_rows(folder, "b", extension, [{"text": "stays"}])
    return make_plan(list_inputs([str(folder)], {}), InputColumns(), {})


def change_time(path):
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000_000))


CHANGES = [
    ("file_changed", lambda path: path.write_bytes(path.read_bytes() + b" and more")),
    ("file_changed", change_time),
    ("file_missing", lambda path: path.unlink()),
]


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv.gz", "txt"])
@pytest.mark.parametrize(("reason", "change"), CHANGES, ids=["size", "time", "gone"])
def test_a_file_that_changes_after_the_plan_has_its_rows_quarantined(tmp_path, extension, reason, change):
    plan = planned(tmp_path, extension)
    path = sorted(tmp_path.iterdir())[0]
    change(path)
    table = read_shard(plan, InputColumns(), pa.schema([]), {})
    assert reasons(table) == [reason, None]
    assert table["doc_id"][0].as_py() == f"{path}#0"
    with pytest.raises(StrideformerError, match="the input must not change while a job runs"):
        read_shard(plan, InputColumns(), pa.schema([]), {}, "fail")


@pytest.mark.parametrize("extension", ["parquet", "jsonl"])
@pytest.mark.parametrize(("reason", "change"), CHANGES, ids=["size", "time", "gone"])
def test_a_file_that_changes_between_listing_and_plan_is_quarantined(tmp_path, extension, reason, change):
    planned(tmp_path, extension)
    files = list_inputs([str(tmp_path)], {})
    change(sorted(tmp_path.iterdir())[0])
    plan = make_plan(files, InputColumns(), {})
    assert plan["reason"].to_pylist() == [reason, None]


def test_a_footer_damaged_after_the_plan_costs_its_rows(tmp_path):
    plan = planned(tmp_path, "parquet")
    path = tmp_path / "a.parquet"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-60:-20] = b"\xff" * 40
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    table = read_shard(plan, InputColumns(), pa.schema([]), {})
    assert reasons(table) == ["unreadable_file", None]


def test_an_object_that_changes_under_the_same_size_is_told_by_its_etag(s3_server, s3_bucket):
    filesystem = s3_server.filesystem()

    def put(name, text):
        with filesystem.open_output_stream(f"{s3_bucket}/{name}") as stream:
            stream.write(jsonl([{"text": text}]))

    put("a.jsonl", "before")
    put("b.jsonl", "stays!")
    plan = make_plan(list_inputs([f"s3://{s3_bucket}"], {}), InputColumns(), {})
    assert all(plan["etag"].to_pylist())
    put("a.jsonl", "behind")
    assert reasons(read_shard(plan, InputColumns(), pa.schema([]), {})) == ["file_changed", None]
    filesystem.delete_file(f"{s3_bucket}/a.jsonl")
    for options in ({}, {"backend": "s3fs"}):
        assert reasons(read_shard(plan, InputColumns(), pa.schema([]), options)) == ["file_missing", None]


def test_nothing_of_a_column_is_unpickled(tmp_path):
    """Ray's type of pickled objects, and pyarrow's own of old, in a file that says that its text is of it."""
    import ray.data.extensions  # noqa: F401  registers the type, as a worker does

    payload = b"cbuiltins\neval\n(S\"__import__('pathlib').Path('%s').touch()\"\ntR." % str(tmp_path / "ran").encode()
    storage = pa.array([payload], pa.large_binary())
    for number, name in enumerate((b"ray.data.arrow_pickled_object", b"arrow.py_extension_type")):
        metadata = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": payload}
        fields = [pa.field(column, pa.large_binary(), metadata=metadata) for column in ("text", "key", "kept")]
        pq.write_table(pa.Table.from_arrays([storage] * 3, schema=pa.schema(fields)), tmp_path / f"{number}.parquet")
    write_parquet(tmp_path / "2.parquet", text=["fine"], key=["k"], kept=["v"])
    table, _ = read_all(tmp_path, InputColumns(id="key", keep=("kept",)))
    assert table.num_rows == 3
    assert not (tmp_path / "ran").exists()
    pickle.loads(payload)
    assert (tmp_path / "ran").exists()  # so it would have been seen
