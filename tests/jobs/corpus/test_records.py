import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.corpus import records
from jobs.corpus.records import find_cuts, record_bounds, scan_records
from strideformer.errors import StrideformerError


def split(data, delimiter, block_bytes=None, monkeypatch=None):
    if block_bytes:
        monkeypatch.setattr(records, "BLOCK_BYTES", block_bytes)
    found = []
    for starts, ends in scan_records(io.BytesIO(data), delimiter, "file"):
        found += [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return found


@pytest.mark.parametrize(
    ("data", "delimiter", "expected"),
    [
        (b"", None, []),
        (b"\n\r\n \t\n", None, []),
        (b"a\nb", None, [b"a", b"b"]),
        (b"a\r\n\r\nb\r\n", None, [b"a\r", b"b\r"]),
        (b" \n a \n", None, [b" a "]),
        (b'"\n"\n', None, [b'"', b'"']),
        (b"\xef\xbb\xbfa\n", None, [b"a"]),
        (b'a,"b\nc"\nd,e', ",", [b'a,"b\nc"', b"d,e"]),
        (b'a,"b""\nc"\nd\n', ",", [b'a,"b""\nc"', b"d"]),
        (b'""\n"a"\n', ",", [b'""', b'"a"']),
        (b'5" pipe,a\n6" pipe,b\n', ",", [b'5" pipe,a', b'6" pipe,b']),
        (b'5" pipe,"a\nb"\nc\n', ",", [b'5" pipe,"a\nb"', b"c"]),
        (b'"a" b"c\nd\n', ",", [b'"a" b"c', b"d"]),
        (b'a\t"b\nc"\td\n', "\t", [b'a\t"b\nc"\td']),
        (b'a,"b\n', "\t", [b'a,"b']),
        (b'x\n"never closed\nand on\n', ",", [b"x", b'"never closed\nand on\n']),
    ],
)
@pytest.mark.parametrize("block_bytes", [3, 5, None])
def test_records(data, delimiter, expected, block_bytes, monkeypatch):
    assert split(data, delimiter, block_bytes, monkeypatch) == expected


@settings(max_examples=300, deadline=None)
@given(data=st.text(alphabet='a,"\n\r', max_size=40).map(str.encode), cut=st.integers(0, 40))
def test_the_fast_way_is_the_exact_way_wherever_blocks_are_cut(data, cut):
    starts, ends, consumed = record_bounds(data[:cut], ",", is_last=False)
    rest_starts, rest_ends, _ = record_bounds(data[consumed:], ",", is_last=True)
    pieces = [data[s:e] for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]
    pieces += [data[consumed:][s:e] for s, e in zip(rest_starts.tolist(), rest_ends.tolist(), strict=True)]
    assert pieces == exact_records(data)


def exact_records(data):
    """Letter by letter: a quote opens at the begin of a field only, and a doubled one stays inside."""
    found, record, at_field, quoted = [], b"", True, False
    i = 0
    while i < len(data):
        letter = data[i : i + 1]
        if quoted:
            if letter == b'"' and data[i + 1 : i + 2] == b'"':
                record += letter
                i += 1
            elif letter == b'"':
                quoted = False
        elif letter == b'"' and at_field:
            quoted = True
        elif letter == b"\n":
            found.append(record)
            record, at_field = b"", True
            i += 1
            continue
        at_field = not quoted and letter == b","
        record += letter
        i += 1
    return [each for each in [*found, record] if each not in (b"", b"\r")]


@given(rows=st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=20), crlf=st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_pythons_csv_writes_is_split_as_it_reads(rows, crlf):
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\r\n" if crlf else "\n").writerows(rows)
    found = split(target.getvalue().encode("utf-8", "surrogatepass"), ",")
    assert len(found) == len(rows)


def test_cut_points_name_the_byte_of_each_row():
    data = b"header\n\nrow 0\nrow 1\n\nrow 2"
    cuts = find_cuts(io.BytesIO(data), ",", "file", header=True)
    assert cuts.rows.tolist() == [0, 1, 2, 3]
    assert [data[a:b].strip() for a, b in zip(cuts.offsets, cuts.offsets[1:], strict=False)] == [
        b"row 0",
        b"row 1",
        b"row 2",
    ]
    assert find_cuts(io.BytesIO(data), ",", "file", True, max_rows=2).rows.tolist() == [0, 1, 2]
    assert find_cuts(io.BytesIO(b"header\n"), ",", "file", header=True).num_rows == 0


def test_cut_points_are_thinned_for_long_files_and_stay_right(monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 10_000)
    lines = [b"%d" % i + b"." * (i % 50) for i in range(100_000)]
    lines[70_000] = b"x" * (3 << 20)
    data = b"\n".join(lines)
    cuts = find_cuts(io.BytesIO(data), None, "file", header=False)
    assert cuts.num_rows == 100_000
    assert cuts.rows.size < 9000
    assert np.diff(cuts.rows).max() <= 64
    for row, offset in zip(cuts.rows[:-1].tolist(), cuts.offsets[:-1].tolist(), strict=True):
        assert data[offset:].startswith(lines[row] + b"\n") or row == 99_999
    assert 70_001 in cuts.rows  # nothing is put together with a record of several MiB


def test_a_csv_record_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 100)
    monkeypatch.setattr(records, "LARGEST_RECORD", 1000)
    with pytest.raises(StrideformerError, match=r"FILE has a record of more than 0 MiB, beginning at byte 6"):
        list(scan_records(io.BytesIO(b'a,b,c\n"' + b"x\n" * 1000), ",", "FILE"))


def test_a_line_without_end_is_found_and_keeps_a_cut_of_its_own(monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 100)
    monkeypatch.setattr(records, "LARGEST_RECORD", 5000)
    lines = [b"a", b"b" * 40, b"x" * 20_000, b"c", b"d"]
    cuts = find_cuts(io.BytesIO(b"\n".join(lines * 1000)), None, "file", header=False)
    assert cuts.num_rows == 5000
    large = np.diff(cuts.offsets) > 5000
    assert large.sum() == 1000
    assert set(np.diff(cuts.rows)[large].tolist()) == {1}
