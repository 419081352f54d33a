from __future__ import annotations

import pytest

from jobs.output.progress import Progress, count, duration
from jobs.output.receipt import Receipt


def test_numbers_a_person_can_read() -> None:
    assert [count(number) for number in (0, 999, 9_999, 12_345, 3_400_000, 5e9)] == [
        "0",
        "999",
        "9999",
        "12.3 k",
        "3.4 M",
        "5.0 G",
    ]
    assert [duration(seconds) for seconds in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]


def test_plain_lines_tell_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    before = Receipt(-1, "job", documents=10, labelled=10)
    with Progress(100, before, "plain") as progress:
        progress.add(Receipt(4, "job", documents=30, labelled=28, quarantined=2, tokens=50_000, chunks=400))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("10/100 documents (10.0 %) · starting encoders")
    assert lines[-1].startswith("40/100 documents (40.0 %) · 400 chunks · 50.0 k tokens")
    assert lines[-1].endswith("2 quarantined")


def test_none_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, Receipt(-1, "job"), "none") as progress:
        progress.add(Receipt(0, "job", documents=10, labelled=10))
    assert capsys.readouterr() == ("", "")
