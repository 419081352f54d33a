"""Labels: how often each is given and how surely; of a regression, its values."""

from __future__ import annotations

import shlex
from itertools import pairwise

import numpy as np

from jobs.reporting.charts import bar, histogram
from jobs.reporting.histograms import GrowingHistogram
from jobs.reporting.label_scores import SCORE_BINS, LabelScores
from jobs.reporting.markup import NOTHING, Html, decimal, foreign, number, share, table, tag, together, visible

LABELS_SHOWN = 20
# Beyond these the page would be slow; `evaluate --json` and SQL over the parts have no such end.
LABELS_TOLD = 500
CHARTS = 6
LONGEST_TITLE = 60
NEVER_GIVEN_SHOWN = 100
NOT_HOW_RIGHT = "A score says how sure the model is, not how right it is. That only true labels tell: "
HOW_RIGHT = "How right the values are only true ones tell: "
RANGES = [f"{index / SCORE_BINS:.2f} to {(index + 1) / SCORE_BINS:.2f}" for index in range(SCORE_BINS)]
TICKS = ["0", "0.25", "0.5", "0.75", "1"]


def labels(scores: LabelScores, documents: int, output: str, id_column: str | None) -> Html:
    """The section of the labels, or of the values of a regression.

    Args:
        scores: what was added up.
        documents: labelled ones.
        output: the job's folder, for the command that compares it with true labels.
        id_column: from which the job took its ids, as that command must.
    """
    regression = scores.labels.kind == "regression"
    ids = [] if id_column is None else ["--id-column", id_column]
    command = tag("code", shlex.join(["strideformer", "evaluate", output, "--labels", "FILE", *ids]))
    advice = tag("p", HOW_RIGHT if regression else NOT_HOW_RIGHT, command, ".", class_="note")
    if regression:
        return together(_values(scores), advice)
    order = [int(index) for index in np.argsort(-scores.given, kind="stable")]
    given = [index for index in order if scores.given[index]]
    return together(
        _of_several(scores, documents) if scores.labels.kind == "multi_label_classification" else None,
        _table(scores, documents, given),
        _never_given(scores, order[len(given) :]),
        _charts(scores, given),
        advice,
    )


def mean_score(scores: LabelScores, index: int) -> str:
    """The mean score that a label was given with."""
    return f"{scores.sums[index] / scores.given[index]:.3f}" if scores.given[index] else NOTHING


def _of_several(scores: LabelScores, documents: int) -> Html:
    each = scores.given.sum() / max(1, documents)
    without = f"{number(scores.without)} ({share(scores.without, documents)}) have none"
    return tag("p", f"Documents may have several labels, or none: {each:.2f} on average, and {without}.")


def _table(scores: LabelScores, documents: int, given: list[int]) -> Html:
    most = int(scores.given[given[0]]) if given else 0

    def rows(indices: list[int]) -> list[list[str | None]]:
        return [
            [
                foreign(scores.labels.names[index]),
                bar(int(scores.given[index]), most),
                number(int(scores.given[index])),
                share(int(scores.given[index]), documents),
                mean_score(scores, index),
            ]
            for index in indices
        ]

    heads = ["label", "", "documents", "share", "mean score"]
    names = f"{number(len(given))} of {number(len(scores.labels.names))} labels"
    first = (
        "How often each is given"
        if len(given) <= LABELS_SHOWN
        else f"The {LABELS_SHOWN} most frequent labels, of {number(len(given))}"
    )
    shown = table(first, heads, rows(given[:LABELS_SHOWN]), numeric=(2, 3, 4), class_="bars")
    rest = given[LABELS_SHOWN:LABELS_TOLD]
    if not rest:
        return shown
    left_out = len(given) - LABELS_TOLD
    more = table("The other labels", heads, rows(rest), numeric=(2, 3, 4), class_="bars")
    cut = tag("p", f"{number(left_out)} rarer labels are left out here.", class_="note") if left_out > 0 else None
    return together(shown, tag("details", tag("summary", f"{number(len(rest))} more; {names} are in use"), more, cut))


def _never_given(scores: LabelScores, never: list[int]) -> Html | None:
    if not never:
        return None
    names = [scores.labels.names[index] for index in never]
    some = [together(foreign(name), "" if name is names[-1] else ", ") for name in names[:NEVER_GIVEN_SHOWN]]
    more = f"and {number(len(names) - NEVER_GIVEN_SHOWN)} more" if len(names) > NEVER_GIVEN_SHOWN else None
    if len(names) <= CHARTS:
        return tag("p", "Given to no document: ", *some, ".")
    words = tag("summary", f"{number(len(names))} labels are given to no document")
    return tag("details", words, tag("p", *some, more))


def _charts(scores: LabelScores, given: list[int]) -> Html:
    several = scores.labels.kind == "multi_label_classification"
    title = "Scores of all documents: of the best label, given or not" if several else "Scores of all documents"
    overall = histogram(title, scores.overall.tolist(), RANGES, TICKS, "documents", wide=True)
    heading = tag("h3", "How sure the labels are")
    whole = together(heading, tag("div", overall, class_="charts wide"))
    if len(given) < 2:
        return whole
    each = [
        histogram(
            visible(scores.labels.names[index], LONGEST_TITLE),
            scores.by_label[index].tolist(),
            RANGES,
            TICKS,
            "documents",
        )
        for index in given[:CHARTS]
    ]
    words = "each label" if len(given) <= CHARTS else f"the {CHARTS} most frequent labels"
    return together(whole, tag("h3", f"Scores of {words}"), tag("div", *each, class_="charts"))


def _values(scores: LabelScores) -> Html:
    named = list(zip(scores.labels.names, scores.values, strict=True))
    rows = [
        [
            foreign(name),
            decimal(values.low) if values.number else NOTHING,
            decimal(values.total / values.number) if values.number else NOTHING,
            decimal(values.high) if values.number else NOTHING,
        ]
        for name, values in named[:LABELS_TOLD]
    ]
    heads = ["target", "least", "mean", "greatest"]
    wide = len(named) == 1
    charts = [_of_values(name, values, wide) for name, values in named[:CHARTS] if values.number]
    return together(
        table("Values", heads, rows, numeric=(1, 2, 3)),
        tag("div", *charts, class_="charts wide" if wide else "charts"),
    )


def _of_values(name: str, values: GrowingHistogram, wide: bool) -> Html:
    edges = [decimal(float(edge)) for edge in values.edges]
    ranges = [f"{low} to {high}" for low, high in pairwise(edges)]
    middle = decimal(float(values.edges[0] + values.edges[-1]) / 2)
    ticks = [edges[0], middle, edges[-1]]
    return histogram(
        f"Values of {visible(name, LONGEST_TITLE)}", values.counts.tolist(), ranges, ticks, "documents", wide
    )
