from __future__ import annotations

import numpy as np
import pytest

from jobs.evaluation import table
from jobs.evaluation.calibrate import Calibration
from jobs.evaluation.match import Coverage
from strideformer import metrics
from strideformer.metrics import evaluate
from strideformer.scored_documents import ScoredDocuments

MARKUP = ("[cs.LG] learning", "[/x]", "[bold]plain", ":warning: sign")


def documents(names: tuple[str, ...]) -> ScoredDocuments:
    """One of each label, of which the first and the last are taken for one another."""
    truth = np.arange(len(names))
    given = truth.copy()
    given[[0, -1]] = given[[-1, 0]]
    return ScoredDocuments(names, "single_label_classification", truth, given, np.eye(len(names))[given])


def printed(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    found = evaluate(documents(names), resamples=100)
    coverage = Coverage(len(names), len(names), len(names), 0, 0, 0, 0, 0, {"[red]unknown": 1})
    calibration = Calibration("[blue]model", 1.0, [0.5] * len(names), {"log_loss": 1.0}, {"log_loss": 0.5})
    table.print_evaluation(names, found, coverage, None, None, calibration)
    return capsys.readouterr().out


@pytest.mark.parametrize("others", [0, table.CONFUSION_WIDTH])
def test_names_of_labels_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], others: int) -> None:
    names = (*MARKUP, *(f"other {index}" for index in range(others)), "[red]last")
    shown = printed(names, capsys)
    per_label, confused = shown.split("Labels, lowest F1 first")[1].split("onfusion", 1)
    assert all(f" {name} " in per_label for name in names)
    assert names[0] in confused
    assert names[-1] in confused
    assert "[red]unknown (1)" in shown
    assert "Stored in [blue]model" in shown
    assert "Thresholds: [cs.LG] learning 0.500, [/x] 0.500" in shown


def test_confusions_are_printed_where_there_is_no_matrix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_LABELS_OF_A_MATRIX", 3)
    shown = printed(MARKUP, capsys)
    assert "Confusion matrix" not in shown
    listed = shown.split("The 10 most frequent confusions")[1].split("Stored in")[0]
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in listed.splitlines() if "│" in line]
    assert rows == [[MARKUP[0], MARKUP[-1], "1"], [MARKUP[-1], MARKUP[0], "1"]]


def test_titles_are_bold_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1mFigures" in printed(MARKUP, capsys)
