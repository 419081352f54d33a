"""The quarantine: why documents could not be labelled, which files have most of them, and a few of each reason."""

from __future__ import annotations

from typing import Any

from jobs.corpus.redaction import without_secrets
from jobs.output.receipt import Receipt
from jobs.reporting.charts import bar
from jobs.reporting.markup import Html, foreign, number, share, table, tag, together
from jobs.reporting.quarantined import Quarantined
from jobs.reporting.sections.documents import place

SOURCES_SHOWN = 10
REASONS_SHOWN = 40
LONGEST_DETAIL = 320


def quarantine(
    found: Quarantined,
    total: Receipt,
    examples: dict[str, list[dict[str, Any]]],
    output: str,
    done: str,
    finished: bool,
) -> Html:
    """The section of the quarantine.

    Args:
        found: what was added up of its parts.
        total: the job's totals, whose reasons count.
        examples: documents of each reason.
        output: the job's folder.
        done: the job's word for what it does to a document.
        finished: whether it has done all.
    """
    if not total.quarantined:
        return tag("p", f"Empty: every document was {done}." if finished else "Empty so far.")
    return together(
        tag("p", "All of them, with their reasons, are in ", tag("code", f"{output}/_quarantine"), "."),
        tag("p", f"{number(found.missing)} of its parts are not there any more: what follows is without them.")
        if found.missing
        else None,
        _reasons(total),
        _sources(found, total),
        *(_examples(reason, rows) for reason, rows in list(examples.items())[:REASONS_SHOWN]),
    )


def _reasons(total: Receipt) -> Html:
    ordered = sorted(total.reasons.items(), key=lambda item: -item[1])
    most = ordered[0][1] if ordered else 0
    rows = [
        [tag("code", foreign(reason)), bar(count, most), number(count), share(count, total.documents)]
        for reason, count in ordered
    ]
    heads = ["reason", "", "documents", "share of all"]
    return table("Reasons", heads, rows, numeric=(2, 3), class_="bars")


def _sources(found: Quarantined, total: Receipt) -> Html | None:
    if not found.sources:
        return None
    rows = [
        [foreign(source), number(count), share(count, total.quarantined)]
        for source, count in found.sources.most_common(SOURCES_SHOWN)
    ]
    whole = f"; {number(total.files_quarantined)} were quarantined whole" if total.files_quarantined else ""
    heads = ["file", "documents", "share"]
    return table(f"Files with most quarantined documents{whole}", heads, rows, numeric=(1, 2))


def _examples(reason: str, rows: list[dict[str, Any]]) -> Html:
    cells = [[place(row), foreign(without_secrets(row["detail"] or ""), LONGEST_DETAIL)] for row in rows]
    return table(f"Examples of {reason}", ["document", "detail"], cells, class_="examples")
