"""An evaluation as tables that a person reads on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.evaluation.calibrate import Calibration
from jobs.evaluation.match import Coverage
from jobs.output.console import figure_table, plain_console
from strideformer.metrics import CONFUSIONS, Comparison, Confusion, Evaluation, Figure, Figures

# Beyond these a table is longer than a page or wider than a terminal; the JSON file holds everything,
# but the matrix of more than a thousand labels.
LABELS_SHOWN = 40
CONFUSION_WIDTH = 14
WIDTH_OF_A_FILE = 120

TITLES = {
    "accuracy": "accuracy",
    "subset_accuracy": "subset accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "f1_micro": "micro F1",
    "log_loss": "log loss",
    "expected_calibration_error": "expected calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "pearson": "Pearson's r",
    "spearman": "Spearman's rho",
}
PERCENTAGES = {"accuracy", "subset_accuracy"}


def print_evaluation(
    names: Sequence[str],
    evaluation: Evaluation,
    coverage: Coverage,
    of_all: float | None,
    comparison: Comparison | None,
    calibration: Calibration | None,
) -> None:
    """Print everything, the most asked for first."""
    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    for line in coverage_lines(coverage):
        console.print(line)
    table = figure_table("figure", "value", "95 % interval", title="Figures")
    for name, figure in evaluation.figures.items():
        table.add_row(TITLES[name], _value(name, figure.value), _interval(name, figure))
    if of_all is not None and coverage.evaluated < coverage.labels:
        table.add_row("accuracy of all labelled documents, left out ones as wrong", _value("accuracy", of_all), "")
    console.print(table)
    if len(evaluation.by_length) > 1 or evaluation.truncated is not None:
        console.print(_lengths(evaluation))
    if evaluation.per_label:
        console.print(_labels(evaluation))
    if evaluation.confusion is not None and len(names) <= CONFUSION_WIDTH:
        console.print(_matrix(names, evaluation.confusion))
    elif evaluation.confusions:
        console.print(_confusions(evaluation.confusions))
    if comparison is not None:
        _print_comparison(console, comparison)
    if calibration is not None:
        _print_calibration(console, names, calibration)


def coverage_lines(coverage: Coverage) -> list[str]:
    """Which documents the figures are of, and each reason why others are left out."""
    lines = [f"{coverage.evaluated:,} of {coverage.labels:,} labelled documents evaluated."]
    reasons = {
        "quarantined": "labelled documents were quarantined",
        "without_prediction": "labelled documents have no prediction",
        "without_label": "predictions have no true label",
        "unknown_label": "documents have a label that the model does not have, which it can only get wrong",
        "not_finite": "documents have scores that are not finite",
    }
    for name, words in reasons.items():
        if number := getattr(coverage, name):
            lines.append(f"Left out: {number:,} {words}.")
    if coverage.unknown_labels:
        some = ", ".join(f"{name} ({count:,})" for name, count in list(coverage.unknown_labels.items())[:10])
        lines.append(f"Labels that the model does not have: {some}.")
    if number := sum(coverage.unreadable.values()):
        some = ", ".join(f"{where} ({count:,})" for where, count in list(coverage.unreadable.items())[:10])
        lines.append(f"Left out: {number:,} rows or files of the labels that cannot be read: {some}.")
    return lines


def _lengths(evaluation: Evaluation) -> Table:
    shown = list(evaluation.figures)[:2]
    table = figure_table(
        "tokens", "documents", *(f"{TITLES[name]} (95 % interval)" for name in shown), title="By length"
    )
    rows = [(_range(row.above, row.up_to), row) for row in evaluation.by_length]
    if evaluation.truncated is not None:
        above = evaluation.truncated.above
        rows.append((f"{_range(above, None)}, end not read" if above else "end not read", evaluation.truncated))
    for words, row in rows:
        table.add_row(words, f"{row.documents:,}", *(_with_interval(name, row.figures) for name in shown))
    return table


def _range(above: int, up_to: int | None) -> str:
    if up_to is None:
        return f"above {above:,}"
    return f"{above + 1:,} to {up_to:,}" if above else f"up to {up_to:,}"


def _labels(evaluation: Evaluation) -> Table:
    rows = sorted(evaluation.per_label, key=lambda row: row.f1)
    left_out = max(len(rows) - LABELS_SHOWN, 0)
    title = f"The {LABELS_SHOWN} labels of lowest F1, of {len(rows)}" if left_out else "Labels, lowest F1 first"
    table = figure_table("label", "precision", "recall", "F1 (95 % interval)", "support", "given", title=title)
    for row in rows[:LABELS_SHOWN]:
        f1 = f"{row.f1:.3f}" + ("" if row.f1_low is None else f" ({row.f1_low:.3f} to {row.f1_high:.3f})")
        table.add_row(row.label, f"{row.precision:.3f}", f"{row.recall:.3f}", f1, f"{row.support:,}", f"{row.given:,}")
    return table


def _matrix(names: Sequence[str], confusion: list[list[int]]) -> Table:
    numbers = [str(number) for number in range(1, len(names) + 1)]
    table = figure_table("true label \\ given label", *numbers, title="Confusion matrix")
    for number, name, row in zip(numbers, names, confusion, strict=True):
        table.add_row(f"{number} {name}", *(f"{count:,}" if count else "·" for count in row))
    return table


def _confusions(confusions: Sequence[Confusion]) -> Table:
    table = figure_table("true label", "given label", "documents", title=f"The {CONFUSIONS} most frequent confusions")
    for confusion in confusions:
        table.add_row(confusion.true, confusion.given, f"{confusion.documents:,}")
    return table


def _print_comparison(console: Console, comparison: Comparison) -> None:
    title = f"Minus the other predictions, on {comparison.documents:,} documents of both"
    table = figure_table("figure", "difference", "95 % interval", title=title)
    for name, figure in comparison.differences.items():
        table.add_row(TITLES[name], _value(name, figure.value, sign="+"), _interval(name, figure, sign="+"))
    console.print(table)
    if comparison.p_value is not None:
        console.print(
            f"McNemar's exact test: {comparison.only_first_right:,} documents are right only here, "
            f"{comparison.only_second_right:,} only there; p = {comparison.p_value:.3g}."
        )


def _print_calibration(console: Console, names: Sequence[str], calibration: Calibration) -> None:
    console.print(f"Stored in {calibration.model}: temperature {calibration.temperature:.4g}.")
    if calibration.thresholds is not None:
        pairs = [f"{name} {value:.3f}" for name, value in zip(names, calibration.thresholds, strict=True)]
        more = "" if len(pairs) <= LABELS_SHOWN else ", …"
        console.print(f"Thresholds: {', '.join(pairs[:LABELS_SHOWN])}{more}.")
    table = figure_table("figure", "before", "after", title="On these documents, on which it was fitted")
    for name, value in calibration.before.items():
        table.add_row(TITLES[name], _value(name, value), _value(name, calibration.after[name]))
    console.print(table)


def _value(name: str, value: float, sign: str = "") -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:{sign}.1%}".replace("%", " %") if name in PERCENTAGES else f"{value:{sign}.4f}"


def _interval(name: str, figure: Figure, sign: str = "") -> str:
    if figure.low is None or figure.high is None or not math.isfinite(figure.low):
        return ""
    return f"{_value(name, figure.low, sign)} to {_value(name, figure.high, sign)}"


def _with_interval(name: str, figures: Figures) -> str:
    figure: Any = figures[name]
    return f"{_value(name, figure.value)} ({_interval(name, figure)})"
