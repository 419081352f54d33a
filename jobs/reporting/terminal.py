"""The report in short, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from jobs.output.console import plain_console
from jobs.output.progress import count
from jobs.reporting.gather import Findings
from jobs.reporting.job import ReportedJob
from jobs.reporting.markup import decimal, share
from jobs.reporting.sections.labels import mean_score
from jobs.reporting.sections.what_ran import facts_of_time

LABELS_SHOWN = 10


def print_report(job: ReportedJob, found: Findings, where: str) -> None:
    """State, totals, labels, and where the page is."""
    console = plain_console()
    total = found.total
    console.print(f"{job.folder.url}: {job.state}.", soft_wrap=True)
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    planned = f"{job.documents:,}"
    table.add_row("documents", planned if job.finished else f"{total.documents:,} of {planned}")
    table.add_row(job.done, f"{total.labelled:,}")
    table.add_row("quarantined", f"{total.quarantined:,}")
    for reason, number in sorted(total.reasons.items(), key=lambda item: -item[1]):
        table.add_row(f"  {reason}", f"{number:,}")
    table.add_row("truncated", f"{total.truncated:,}")
    table.add_row("chunks", count(total.chunks))
    table.add_row("tokens", count(total.tokens))
    if total.labelled:
        table.add_row("tokens of a document", f"median about {found.lengths.quantile(0.5):,}")
    for name, words in facts_of_time(job, total):
        table.add_row(name, words)
    console.print(table)
    if found.scores is not None:
        console.print(_values(found) if found.scores.labels.kind == "regression" else _labels(found))
    console.print(f"Report: {where}", soft_wrap=True)  # so that a path can be copied


def _labels(found: Findings) -> Table:
    assert found.scores is not None
    table = Table("label", "documents", "share", "mean score", title="Labels", title_justify="left")
    given = found.scores.given
    order = [int(index) for index in np.argsort(-given, kind="stable") if given[index]]
    for index in order[:LABELS_SHOWN]:
        words = (f"{given[index]:,}", share(int(given[index]), found.total.labelled), mean_score(found.scores, index))
        table.add_row(found.scores.labels.names[index], *words)
    if len(order) > LABELS_SHOWN:
        table.add_row(f"{len(order) - LABELS_SHOWN:,} more", "", "", "")
    return table


def _values(found: Findings) -> Table:
    assert found.scores is not None
    table = Table("target", "least", "mean", "greatest", title="Values", title_justify="left")
    named = list(zip(found.scores.labels.names, found.scores.values, strict=True))
    for name, values in named[:LABELS_SHOWN]:
        mean = values.total / values.number
        table.add_row(name, decimal(values.low), decimal(mean), decimal(values.high))
    if len(named) > LABELS_SHOWN:
        table.add_row(f"{len(named) - LABELS_SHOWN:,} more", "", "", "")
    return table
