"""Lengths: tokens and chunks of documents, how many were truncated, and the score by length."""

from __future__ import annotations

import numpy as np

from jobs.output.receipt import Receipt
from jobs.reporting.charts import bar
from jobs.reporting.histograms import Lengths, bin_range
from jobs.reporting.markup import NOTHING, Html, decimal, number, share, table, tag, together

MOST_ROWS = 14


def lengths(found: Lengths, total: Receipt, score: str | None) -> Html:
    """The section of the lengths.

    Args:
        found: what was added up.
        total: the job's totals.
        score: what a score is called; None where there is none.
    """
    documents = int(found.documents.sum())
    median, most = (number(found.quantile(share_)) for share_ in (0.5, 0.9))
    words = (
        f"The median document has about {median} tokens, 90 % have no more than about {most}, and the longest has "
        f"{number(found.longest)}."
    )
    cut = (
        f"{number(total.truncated)} ({share(total.truncated, documents)}) are longer than the most chunks that were "
        f"allowed: their ends were not read."
        if total.truncated
        else "All were read to their ends."
    )
    exited = total.chunks_encoded < total.chunks and total.chunks_encoded > 0
    note = (
        "Early exit left chunks unread, and tokens here are those that were read: less than the documents' lengths."
        if exited
        else None
    )
    if exited and not total.truncated:
        cut = "None is longer than the most chunks that were allowed."
    return together(
        tag("p", words, " ", cut),
        tag("p", note, class_="note") if note else None,
        _by_tokens(found, documents, score),
        _by_chunks(found, documents),
    )


def rows_of(counts: np.ndarray) -> list[tuple[str, list[int]]]:
    """The bins that are to be shown, each as its range in words and the bins in it: the shortest are put together."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    first, last = int(filled[0]), int(filled[-1])
    begin = max(first, last - MOST_ROWS + 1)
    rows = []
    for number_ in range(begin, last + 1):
        bins = list(range(first, begin + 1)) if number_ == begin else [number_]
        low, high = bin_range(bins[0])[0], bin_range(bins[-1])[1]
        rows.append((number(high) if low == high else f"{number(low)} to {number(high)}", bins))
    return rows


def _by_tokens(found: Lengths, documents: int, score: str | None) -> Html:
    rows = []
    shown = rows_of(found.documents)
    most = max((int(found.documents[bins].sum()) for _, bins in shown), default=0)
    for words, bins in shown:
        of_row = int(found.documents[bins].sum())
        mean = decimal(float(found.scored[bins].sum()) / of_row) if of_row else NOTHING
        truncated = share(int(found.truncated[bins].sum()), of_row)
        cells = [words, bar(of_row, most), number(of_row), share(of_row, documents), truncated]
        rows.append([*cells, mean] if score else cells)
    heads = ["tokens", "", "documents", "share", "truncated", *([score] if score else [])]
    return table("Documents by tokens", heads, rows, numeric=(2, 3, 4, 5), class_="bars")


def _by_chunks(found: Lengths, documents: int) -> Html:
    shown = rows_of(found.by_chunks)
    counts = [(words, int(found.by_chunks[bins].sum())) for words, bins in shown]
    most = max((count for _, count in counts), default=0)
    rows = [[words, bar(count, most), number(count), share(count, documents)] for words, count in counts]
    return table("Documents by chunks", ["chunks", "", "documents", "share"], rows, numeric=(2, 3), class_="bars")
