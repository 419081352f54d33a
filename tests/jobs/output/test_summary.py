from __future__ import annotations

import pytest

from jobs.output.receipt import Receipt
from jobs.output.summary import print_summary


def test_labels_and_paths_with_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"[/x]": 2, "[cs.LG] :smile: learning": 1}
    total = Receipt(-1, "job", documents=4, labelled=3, quarantined=1, label_counts=labels, reasons={"empty_text": 1})
    print_summary(total, Receipt(-1, "job"), 1.0, "/data/[draft]/labelled")
    shown = capsys.readouterr().out
    for words in (*labels, "in /data/[draft]/labelled/_quarantine", "Output: /data/[draft]/labelled"):
        assert words in shown
