import pytest

from jobs.corpus.columns import InputColumns
from tests.jobs.corpus.corpora import delimited, read_all, reasons, write_bytes

BAD_RECORDS = [
    (b"one field", "malformed_record"),
    (b"a,b,c,d", "malformed_record"),
    (b'"never, closed', "malformed_record"),
    (b",k,1", "empty_text"),
    (b'" ",k,1', "empty_text"),
    (b"caf\xe9,k,1", "undecodable_text"),
    (b"x,k\xe9,1", "bad_column"),
    (b"x,k,\xe9", "bad_column"),
    (b'5" pipe,k,1', None),
    (b'"x" y,k,1', None),
    (b'"a\nb",k,1', None),
    (b"x,,1", None),
    (b"lone \r return,k,1", None),
    (b'"lone \r return",k,1', None),
    (b'"a ""quote""",k,1', None),
    (b'",",k,1', None),
]


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS, ids=[str(record) for record, _ in BAD_RECORDS])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_csv_record_is_quarantined_alone(tmp_path, record, reason, end):
    lines = [b"text,key,n", b"before,b,1", b"", record]
    if b"never" not in record:
        lines.append(b"after,a,3")
    (tmp_path / "a.csv").write_bytes(end.join(lines) + end)
    table, _ = read_all(tmp_path, InputColumns(id="key", keep=("n",)))
    assert reasons(table) == [None, reason, None][: len(lines) - 2]
    assert table["_text"].to_pylist()[0::2] == ["before", "after"][: len(lines) - 3]
    assert table["n"].to_pylist()[0::2] == ["1", "3"][: len(lines) - 3]
    assert table["doc_id"].to_pylist()[0::2] == ["b", "a"][: len(lines) - 3]


@pytest.mark.parametrize("before", [b"1,before\n", b'1,5" before\n'])
def test_a_quote_in_the_last_column_that_is_never_closed_swallows_no_rows(tmp_path, before):
    """pyarrow would make one text of all that follows."""
    (tmp_path / "a.csv").write_bytes(b"key,text\n" + before + b'2,"unclosed\n3,after\n4,after\n')
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert reasons(table) == [None, "malformed_record"]
    assert table["quarantine_detail"].to_pylist()[1] == "the quote of field 2 is not closed"


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (b'1,"begins\n2,between\n3,"also\n4,after\n', ["malformed_record", None]),
        (b'1,"begins\n2,"quoted"\n3,after\n4,after\n', ["malformed_record", None, None]),
        (b'1,5" pipe\n2,"begins\n3,"also\n4,after\n', [None, "malformed_record", None]),
        (b'1,"begins" here\n2,"here" too\n3,""\n', [None, None, "empty_text"]),
        (b'1,"a\n""b"" c"\n2,"a, ""b"""\n', [None, None]),
        (b'1,"a\n""b"" c"\n2,5" pipe\n', [None, None]),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_two_quotes_that_are_letters_make_no_text_of_two_records(tmp_path, records, expected, end):
    """A table without quoting has fields that begin with a quote, and one such closes another."""
    (tmp_path / "a.csv").write_bytes((b"key,text\n" + records).replace(b"\n", end))
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert reasons(table) == expected


def test_csv_columns_may_be_in_any_order_and_fields_long(tmp_path):
    long = "word " * 60_000
    write_bytes(tmp_path / "a.csv", delimited([{"n": 1, "text": "a,b"}, {"n": 2, "text": long}]) + b"torn\n")
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert table["_text"].to_pylist() == ["a,b", long, None]
    assert table["n"].to_pylist() == ["1", "2", None]
    assert reasons(table) == [None, None, "malformed_record"]


def test_tsv_takes_tabs_and_leaves_commas(tmp_path):
    write_bytes(tmp_path / "a.tsv", b"\xef\xbb\xbftext\tn\na, b\t1\n")
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert table.select(["_text", "n"]).to_pylist() == [{"_text": "a, b", "n": "1"}]
