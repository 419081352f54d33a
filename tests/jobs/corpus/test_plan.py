import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.corpus import packing
from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import InputFile, list_inputs
from jobs.corpus.packing import pack, runs_of
from jobs.corpus.pieces import PLAN_SCHEMA
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.records import CutPoints
from strideformer.errors import StrideformerError
from tests.jobs.corpus.corpora import jsonl, read_all, write_bytes, write_rows

EXTENSIONS = ["parquet"] + [
    kind + suffix for kind in ("jsonl", "csv", "tsv", "txt") for suffix in ("", ".gz", ".zst", ".bz2")
]
# a byte order mark at the begin of a text file is no text
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(
        st.tuples(st.sampled_from(EXTENSIONS), st.lists(TEXTS, min_size=1, max_size=12)), min_size=1, max_size=4
    ),
    shard_rows=st.integers(1, 20),
    shard_bytes=st.integers(1, 300),
    min_shards=st.integers(1, 10),
    row_group_size=st.integers(1, 12),
)
def test_every_row_comes_once_and_in_order(files, shard_rows, shard_bytes, min_shards, row_group_size):
    with tempfile.TemporaryDirectory() as folder:
        expected = []
        for number, (extension, texts) in enumerate(files):
            rows = [{"text": text, "other": "x"} for text in texts]
            write_rows(Path(folder), f"{number}", extension, rows, row_group_size)
            one_a_file = extension.startswith("txt")
            expected += [(text, 0 if one_a_file else row) for row, text in enumerate(texts)]
        limits = {"shard_rows": shard_rows, "shard_bytes": shard_bytes, "min_shards": min_shards}
        table, plan = read_all(folder, **limits)
        assert make_plan(list_inputs([folder], {}), InputColumns(), {}, **limits).equals(plan)

    assert table["row"].to_pylist() == [row for _, row in expected]
    for (text, _), read, reason in zip(
        expected, table["_text"].to_pylist(), table["quarantine_reason"].to_pylist(), strict=True
    ):
        if reason is None:
            assert read == text
        else:
            assert (reason, read, text.strip()) == ("empty_text", None, "")
    assert table["doc_id"].to_pylist() == [
        f"{source}#{row}" for source, row in zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True)
    ]
    assert plan.schema == PLAN_SCHEMA
    assert plan["shard"].unique().to_pylist() == list(range(len(plan["shard"].unique())))
    counts = np.bincount(plan["shard"].to_numpy(), weights=plan["num_rows"].to_numpy())
    assert counts.max() <= max(shard_rows, 1)


@pytest.mark.parametrize("extension", ["parquet", "jsonl.gz", "csv", "txt"])
def test_limit_is_exact_and_takes_the_first(tmp_path, extension):
    for number in range(3):
        rows = [{"text": f"{number} {row}"} for row in range(10)]
        write_rows(tmp_path, str(number), extension, rows)
    everything, _ = read_all(tmp_path)
    for limit in (1, 10, 14, 29, 30, 31):
        limited, plan = read_all(tmp_path, limit=limit, shard_rows=4)
        assert limited["_text"].to_pylist() == everything["_text"].to_pylist()[:limit]
        assert sum(plan["num_rows"].to_pylist()) == min(limit, 30)


def test_min_shards_makes_a_small_input_fill_all_actors(tmp_path):
    write_rows(tmp_path, "a", "parquet", [{"text": f"document {i}"} for i in range(200)], row_group_size=200)
    sizes = {}
    for min_shards in (1, 8, 200):
        _, plan = read_all(tmp_path, min_shards=min_shards)
        sizes[min_shards] = plan["num_rows"].to_pylist()
    assert sizes[1] == [200]
    assert sizes[8] == [25] * 8
    assert min(sizes[200]) >= 7  # a shard of a document or two would cost more to schedule than to compute


def test_two_small_first_shards_leave_the_others_as_they_were(tmp_path):
    write_rows(tmp_path, "a", "parquet", [{"text": f"document {i}"} for i in range(200)], row_group_size=200)
    whole, _ = read_all(tmp_path)
    table, plan = read_all(tmp_path, min_shards=4, small_first=True)
    assert plan["num_rows"].to_pylist() == [3, 3, 44, 50, 50, 50]
    assert table["doc_id"].equals(whole["doc_id"])
    _, alone = read_all(tmp_path, small_first=True)
    assert alone["num_rows"].to_pylist() == [200]


def test_small_files_are_put_together_and_large_ones_cut_evenly(tmp_path):
    write_rows(tmp_path, "small", "txt", [{"text": "x" * 10}] * 50)
    write_bytes(tmp_path / "zlarge.jsonl", jsonl([{"text": "y" * 100}] * 1001))
    _, plan = read_all(tmp_path, shard_rows=100)
    counts = np.bincount(plan["shard"].to_numpy(), weights=plan["num_rows"].to_numpy())
    assert len(counts) == 11
    assert counts.min() >= 95
    assert counts.max() <= 100


def test_no_shard_opens_more_than_512_files():
    one = CutPoints(np.array([0, 1]), np.array([0, 10]))
    files = [InputFile(f"/f{i:04d}.txt", 10, "", "text", "none") for i in range(1100)]
    pieces = pack([run for file in files for run in runs_of(file, one, 10_000, 1 << 20)], 10_000, 1 << 20, 1)
    assert max(np.bincount([piece.shard for piece in pieces])) == 512


def test_row_groups_that_fit_are_not_cut_and_larger_ones_are_cut_evenly():
    groups = CutPoints(np.array([0, 60, 120, 180, 480]), np.array([0, 60, 120, 180, 480]) * 10)
    file = InputFile("/f.parquet", 1, "", "parquet", "none")
    pieces = pack(list(runs_of(file, groups, 100, 1 << 20)), 100, 1 << 20, 1)
    bounds = {piece.row_start for piece in pieces}
    assert {0, 60, 120, 180} <= bounds
    assert [piece.num_rows for piece in pieces] == [60, 60, 60, 75, 75, 75, 75]


@pytest.mark.parametrize(("mebibytes", "shards", "largest"), [(50, 50, 1), (200, 100, 2), (100_000, 391, 256)])
def test_shards_grow_with_the_corpus_as_far_as_they_fit_in_memory(mebibytes, shards, largest):
    rows = np.arange(mebibytes + 1)  # a row group of one document of 1 MiB each
    file = InputFile("/f.parquet", 1, "", "parquet", "none")
    pieces = pack(list(runs_of(file, CutPoints(rows, rows << 20), 100, 1 << 20)), 100, 1 << 20, 1, most_shards=100)
    assert len(pieces) == shards
    assert max(piece.num_rows for piece in pieces) == largest
    assert sum(piece.num_rows for piece in pieces) == mebibytes


@pytest.mark.parametrize("extension", ["parquet", "jsonl.gz"])
def test_what_is_read_from_its_begin_is_cut_into_few_parts(extension):
    gibibytes = 4
    rows = np.arange(0, 100_001, 10 if extension != "parquet" else 100_000)
    cuts = CutPoints(rows, rows * (gibibytes << 30) // 100_000)
    compression = "gzip" if extension.endswith("gz") else "none"
    file = InputFile(f"/f.{extension}", 1, "", extension.partition(".")[0], compression)
    pieces = pack(list(runs_of(file, cuts, 10_000, 32 << 20)), 10_000, 32 << 20, 1)
    assert 16 <= len(pieces) <= 17
    assert sum(piece.num_rows for piece in pieces) == 100_000
    plain = InputFile("/f.jsonl", 1, "", "jsonl", "none")
    if extension != "parquet":
        assert len(pack(list(runs_of(plain, cuts, 10_000, 32 << 20)), 10_000, 32 << 20, 1)) >= 128
    assert packing._LARGEST_PART == 256 << 20


def test_no_documents_make_an_empty_plan(tmp_path):
    for name in ("a.jsonl", "b.csv", "c.tsv"):
        (tmp_path / name).write_bytes(b"")
    write_bytes(tmp_path / "d.csv.gz", b"text,id\n")
    write_bytes(tmp_path / "e.jsonl.zst", b"\n\n")
    files = list_inputs([str(tmp_path)], {})
    plan = make_plan(files, InputColumns(), {})
    assert plan.num_rows == 0
    assert plan.schema == PLAN_SCHEMA


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv", "tsv.gz", "txt"])
def test_a_missing_column_is_named_with_those_that_exist(tmp_path, extension):
    write_rows(tmp_path, "a", extension, [{"text": "a", "label": "b"}])
    files = list_inputs([str(tmp_path)], {})
    for columns in (InputColumns(text="body"), InputColumns(id="body"), InputColumns(keep=("body",))):
        for function in (make_plan, check_columns):
            with pytest.raises(StrideformerError, match=rf"a[-0]*.{extension} has no column 'body': it has 'text'"):
                function(files, columns, {})


def test_a_missing_column_in_a_later_file_fails_where_bad_files_do(tmp_path):
    write_rows(tmp_path, "a", "jsonl", [{"text": "a"}])
    write_rows(tmp_path, "b", "parquet", [{"body": "a"}])
    with pytest.raises(StrideformerError, match=r"b.parquet has no column 'text'"):
        make_plan(list_inputs([str(tmp_path)], {}), InputColumns(), {}, on_bad_file="fail")


@pytest.mark.parametrize("extension", ["parquet", "jsonl"])
def test_a_text_column_that_is_no_text_is_refused_in_the_first_file(tmp_path, extension):
    write_rows(tmp_path, "a", extension, [{"text": 1, "body": "b"}])
    files = list_inputs([str(tmp_path)], {})
    with pytest.raises(StrideformerError, match=r"column 'text' holds int64, not text: choose one of 'body'"):
        make_plan(files, InputColumns(), {})
    with pytest.raises(StrideformerError, match=r"column 'text' holds int64"):
        check_columns(files, InputColumns(), {})


def test_an_id_column_of_lists_is_refused(tmp_path):
    write_rows(tmp_path, "a", "parquet", [{"text": "a", "id": [1]}])
    with pytest.raises(StrideformerError, match=r"'id' holds list.*which is no id"):
        make_plan(list_inputs([str(tmp_path)], {}), InputColumns(id="id"), {})


def test_kept_columns_make_shards_smaller(tmp_path):
    columns = {"text": ["a"] * 64, "html": ["b" * 1000] * 64, "deep": [{"html": "c" * 1000}] * 64, "unread": ["d"] * 64}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", use_dictionary=False)
    files = list_inputs([str(tmp_path)], {})
    for keep, shards in [((), 1), (("html",), 4), (("html", "deep"), 8)]:
        plan = make_plan(files, InputColumns(keep=keep), {}, shard_bytes=17_000)
        assert plan.num_rows == shards


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", b"", "a.parquet is no Parquet file"),
        ("a.parquet", b"PAR1 nonsense", "a.parquet is no Parquet file"),
        ("a.jsonl", b'[{"text": "a"}]', "a.jsonl is one JSON array"),
        ("a.jsonl", b"text\n", "a.jsonl has no line that is a JSON object"),
        ("a.csv", b"text,text\na,b\n", "a.csv has two columns named 'text'"),
        ("a.csv", b"t\xffxt,b\na,b\n", "a.csv has a header that cannot be read"),
        ("a.csv.gz", b"no gzip", "a.csv.gz"),
    ],
)
def test_files_that_cannot_be_planned_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StrideformerError, match=words):
        make_plan(list_inputs([str(tmp_path)], {}), InputColumns(), {})


def test_a_column_that_a_file_has_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(StrideformerError, match=r"a.parquet has two columns named 'text'"):
        make_plan(list_inputs([str(tmp_path)], {}), InputColumns(), {})


def test_kept_columns_get_plain_types(tmp_path):
    table = pa.table(
        {
            "text": ["a"],
            "encoded": pa.array(["x"]).dictionary_encode(),
            "number": pa.array([1], pa.int16()),
            "nothing": pa.nulls(1),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = InputColumns(keep=("number", "encoded", "nothing"))
    schema = check_columns(list_inputs([str(tmp_path)], {}), columns, {})
    assert schema == pa.schema([("number", pa.int16()), ("encoded", pa.string()), ("nothing", pa.string())])
