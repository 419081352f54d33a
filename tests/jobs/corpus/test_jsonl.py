import pytest

from jobs.corpus import jsonl as parser
from jobs.corpus.columns import InputColumns
from tests.jobs.corpus.corpora import jsonl, read_all, reasons, write_bytes

BAD_LINES = [
    (b'{"text": "fine", "n": 1}', None),
    (b'{"text": "torn', "malformed_record"),
    (b"[1, 2]", "malformed_record"),
    (b'{"text": "a"}{"text": "b"}', "malformed_record"),
    (b"nonsense", "malformed_record"),
    (b'{"text": 5, "n": 1}', "not_a_string"),
    (b'{"text": {"deep": 1}}', "not_a_string"),
    (b'{"text": ["a"]}', "not_a_string"),
    (b'{"text": true}', "not_a_string"),
    (b'{"text": null}', "null_text"),
    (b'{"n": 1}', "null_text"),
    (b'{"text": "  "}', "empty_text"),
    (b'{"text": "caf\xe9"}', "undecodable_text"),
    (b'{"text": "\\ud83d alone"}', "undecodable_text"),
    (b'{"text": "ok", "n": "\\udc00"}', "bad_column"),
    (b'{"text": "ok", "key": [1]}', "bad_column"),
    (b"[" * 100_000, "malformed_record"),
    (b'{"text": "doubled", "text": "key"}', None),
    (b'{"text": "\\ud83d\\ude42 pair", "n": null}', None),
    (b'{"text": "huge", "key": 123456789012345678901234567890}', None),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[str(line[:40]) for line, _ in BAD_LINES])
def test_a_bad_json_line_is_quarantined_alone(tmp_path, line, reason):
    before, after = b'{"text": "before", "n": 1, "key": "b"}\n', b'{"text": "after", "n": 3, "key": "a"}\n'
    (tmp_path / "a.jsonl").write_bytes(before + b"\n" + line + b"\n" + after)
    table, _ = read_all(tmp_path, InputColumns(id="key", keep=("n",)))
    assert reasons(table) == [None, reason, None]
    texts = table["_text"].to_pylist()
    assert (texts[0], texts[2]) == ("before", "after")
    assert (texts[1] is None) == (reason is not None)
    assert [int(n) for n in table["n"].to_pylist()[::2]] == [1, 3]
    assert table["doc_id"].to_pylist()[::2] == ["b", "a"]
    if reason is not None:
        assert 10 < len(table["quarantine_detail"].to_pylist()[1]) <= 200


@pytest.mark.parametrize("bad", ["1.5", '"many"', "[1]", "{}", "1e400", "123456789012345678901234567890"])
def test_a_kept_json_value_unlike_the_first_ones_is_quarantined_alone(tmp_path, bad):
    write_bytes(tmp_path / "a.jsonl", jsonl([{"text": "a", "n": 1}]))
    lines = [b'{"text": "b", "n": 2}', b'{"text": "c", "n": %s}' % bad.encode(), b'{"text": "d", "n": null}']
    (tmp_path / "b.jsonl").write_bytes(b"\n".join(lines))
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert reasons(table) == [None, None, "bad_column", None]
    assert table["n"].to_pylist() == [1, 2, None, None]


def test_a_json_column_of_several_types_is_kept_as_strings(tmp_path):
    write_bytes(
        tmp_path / "a.jsonl", jsonl([{"text": "a", "n": n} for n in (1, "many", 1.5, True, None, {"a": ["ü"]})])
    )
    table, _ = read_all(tmp_path, InputColumns(keep=("n",)))
    assert table["n"].to_pylist() == ["1", "many", "1.5", "true", None, '{"a": ["ü"]}']
    assert reasons(table) == [None] * 6


def test_json_ids_may_be_numbers_or_strings_or_missing(tmp_path):
    write_bytes(tmp_path / "a.jsonl", jsonl([{"text": "a", "key": 1}, {"text": "b"}]))
    write_bytes(tmp_path / "b.jsonl", jsonl([{"text": "c", "key": "k"}, {"text": "d", "key": "l", "more": {}}]))
    write_bytes(tmp_path / "c.jsonl", jsonl([{"text": "c", "key": 1}, {"text": "d", "key": "l"}]))
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert table["doc_id"].to_pylist() == ["1", f"{tmp_path}/a.jsonl#1", "k", "l", "1", "l"]


@pytest.mark.parametrize(
    "ids", [["18446744073709551615", "18446744073709551614"], ['"2020-01-01"', '"2020-01-01T10:00:00Z"']]
)
def test_json_ids_stay_as_they_are_written(tmp_path, ids):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "a", "key": {each}}}\n' for each in ids))
    table, _ = read_all(tmp_path, InputColumns(id="key"))
    assert table["doc_id"].to_pylist() == [each.strip('"') for each in ids]


def test_nested_json_columns_and_times_are_kept_as_they_are(tmp_path):
    times = {"at": "2024-01-01", "all": ["2024-01-01"], "deeper": [{"at": "2024-01-01 10:00:00"}]}
    rows = [{"text": "a", "tags": ["x"], "at": "2024-01-01 10:00:00", "deep": {"n": 1, **times}}] * 2
    write_bytes(tmp_path / "a.jsonl", jsonl(rows) + b'{"text": "torn\n')
    table, _ = read_all(tmp_path, InputColumns(keep=("tags", "at", "deep")))
    assert table.select(["tags", "at", "deep"]).to_pylist()[:2] == [
        {k: r[k] for k in ("tags", "at", "deep")} for r in rows
    ]
    assert reasons(table) == [None, None, "malformed_record"]


def test_a_nested_value_that_is_no_time_where_others_look_like_one(tmp_path):
    write_bytes(tmp_path / "a.jsonl", jsonl([{"text": "a", "meta": {"date": "2020-01-01"}}]))
    write_bytes(tmp_path / "b.jsonl", jsonl([{"text": "b", "meta": {"date": "unknown"}}]))
    table, _ = read_all(tmp_path, InputColumns(keep=("meta",)))
    assert table["meta"].to_pylist() == [{"date": "2020-01-01"}, {"date": "unknown"}]


@pytest.mark.parametrize(
    "lines",
    [
        b'{"text": "a"}',
        b'{"text": "a", "n": 1, "x": 1.5, "b": true, "none": null}\n',
        b'\n  \r\n{"text": "a"}\r\n{"text": ""}\n',
        b'{"text": "2024-01-01T00:00:00Z"}\n',
        b'{"text": "a"}\n{"text": "a", "n": 1}\n',
        b'{"text": "a", "n": null}\n{"text": "a", "n": 1}\n',
        b'{"n": 1}\n{"n": 1.5}\n',
        b'{"n": 9223372036854775807}\n',
        b'{"n": 9223372036854775808}\n',
        b'{"n": 1e3}\n{"n": -0.5}\n',
        b'{"a": [1], "text": "b"}\n',
        b'{"a": {"b": [[1, 2]]}, "text": "b"}\n',
        b'{"text": "\xc3\xa9"}\n',
        b'{"text": "\\u00e9 \\ud800"}\n',
        b'{"n": NaN}\n',
        b'{"text": "a"}\n[["text", "a"]]\n',
        b'{"text": "a"}\nno json\n',
        b'{}\n{"text": "a"}\n{}\n',
        b'\x0c{"text": "a"}\n{"text": "a"}',
    ],
)
def test_the_columns_of_a_small_file_are_those_that_pyarrow_finds(
    lines: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = parser.schema_of(lines, "a.jsonl")
    monkeypatch.setattr(parser, "_SMALL_SAMPLE", 0)
    assert quick == parser.schema_of(lines, "a.jsonl")
