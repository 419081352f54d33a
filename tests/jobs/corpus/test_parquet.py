import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import make_plan
from jobs.corpus.read import read_shard
from strideformer.errors import StrideformerError
from tests.jobs.corpus.corpora import read_all, reasons, write_parquet

TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int8(), pa.string()),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_of_text_is_read(tmp_path, kind):
    texts = ["plain", "Grüße 🙂", None, "", " \n\t\u00a0", "  x"]
    if pa.types.is_dictionary(kind):
        column = pa.array(texts).dictionary_encode()
    else:
        column = pa.array([t if t is None else t.encode() for t in texts], pa.large_binary()).cast(kind)
    write_parquet(tmp_path / "a.parquet", text=column)
    table, _ = read_all(tmp_path)
    assert reasons(table) == [None, None, "null_text", "empty_text", "empty_text", None]
    assert table["_text"].to_pylist() == ["plain", "Grüße 🙂", None, None, None, "  x"]
    assert table["quarantine_detail"].to_pylist()[2] == "column 'text' is null"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()], ids=str)
def test_bytes_that_are_no_utf8_are_quarantined_alone(tmp_path, kind):
    data = pa.array([b"fine", b"caf\xe9", b"also fine", b"\xed\xa0\x80"], pa.binary())
    column = data.cast(pa.large_binary()) if "large" in str(kind) else data
    if "string" in str(kind):
        column = pa.Array.from_buffers(kind, len(column), column.buffers())
    write_parquet(tmp_path / "a.parquet", text=column, key=pa.array(["a", "b", "c", "d"]))
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert reasons(table) == [None, "undecodable_text", None, "undecodable_text"]
    assert table["_text"].to_pylist() == ["fine", None, "also fine", None]
    assert table["doc_id"].to_pylist() == ["a", "b", "c", "d"]


def corrupt(path, group):
    """Turn over bytes in the middle of the text column of a row group."""
    chunk = pq.ParquetFile(path).metadata.row_group(group).column(0)
    data = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    for i in range(middle, middle + 20):
        data[i] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("codec", ["snappy", "zstd", "none"])
@pytest.mark.parametrize("shard_rows", [40, 7])
def test_corrupt_pages_cost_their_row_group_and_no_more(tmp_path, codec, shard_rows):
    path = tmp_path / "a.parquet"
    texts = [os.urandom(200).hex() for _ in range(40)]
    table = pa.table({"text": texts, "key": [f"k{i}" for i in range(40)]})
    pq.write_table(table, path, row_group_size=10, compression=codec, use_dictionary=False, write_page_checksum=True)
    corrupt(path, 1)
    read, _ = read_all(path, InputColumns(id="key"), shard_rows=shard_rows)
    assert reasons(read) == [None] * 10 + ["unreadable_file"] * 10 + [None] * 20
    assert read["_text"].to_pylist()[20:] == texts[20:]
    assert read["doc_id"].to_pylist()[9:12] == ["k9", f"{path}#10", f"{path}#11"]
    assert read["quarantine_detail"].to_pylist()[10].startswith("row group 1 cannot be read")


class FailingFile:
    """A file whose storage fails after the footer was read."""

    closed = False

    def __init__(self, file):
        self.file = file

    def read(self, size=-1):
        if self.file.tell() < 1000:
            raise OSError("AWS Error ACCESS_DENIED")
        return self.file.read(size)

    read_buffer = read

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_storage_that_fails_is_no_corrupt_file(tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet", text=[os.urandom(400).hex() for _ in range(400)])
    files = list_inputs([str(tmp_path)], {})
    plan = make_plan(files, InputColumns(), {})

    def open_failing(filesystem, path):
        return pa.PythonFile(FailingFile(filesystem.open_input_file(path)), mode="r")

    monkeypatch.setattr("jobs.corpus.opening.open_input", open_failing)
    with pytest.raises(StrideformerError, match="access denied"):
        read_shard(plan, InputColumns(), pa.schema([]), {})
