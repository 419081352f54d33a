"""The end of a job: totals for _SUCCESS, and the table that a person reads."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.table import Table

from jobs.output.console import plain_console
from jobs.output.profile import tokenizer_in_words
from jobs.output.progress import count, duration
from jobs.output.receipt import Receipt

LABELS_SHOWN = 20
VERSIONS = ("strideformer", "ray", "torch", "transformers", "tokenizers", "pyarrow", "s3fs")


def success(total: Receipt, seconds: float, shards: int, done: str = "labelled") -> dict[str, Any]:
    """What _SUCCESS holds; ``seconds`` are those of the run that finished the job, ``done`` what it did."""
    labels = {"labels": total.label_counts} if done == "labelled" else {}
    return {
        "documents": total.documents,
        done: total.labelled,
        "quarantined": total.quarantined,
        "files_quarantined": total.files_quarantined,
        "truncated": total.truncated,
        "tokens": total.tokens,
        "chunks": total.chunks,
        "chunks_encoded": total.chunks_encoded,
        "duplicates": total.duplicates,
        "shards": shards,
        **labels,
        "quarantine_reasons": total.reasons,
        "seconds": round(seconds, 3),
        "finished_at": this_moment(),
        "versions": versions(),
    }


def this_moment() -> str:
    """ISO 8601 in UTC, to the second; times of files change where an output is copied."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of what computes the result."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def print_summary(total: Receipt, before: Receipt, seconds: float, output: str, done: str = "labelled") -> None:
    """The table at the end of a run: documents, labels with their shares, rates, where the output is."""
    console = plain_console()
    table = Table(title=done.capitalize(), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("documents", f"{total.documents:,}")
    table.add_row(done, f"{total.labelled:,}")
    table.add_row("quarantined", f"{total.quarantined:,}")
    for reason, number in sorted(total.reasons.items(), key=lambda item: -item[1]):
        table.add_row(f"  {reason}", f"{number:,}")
    if total.duplicates:
        table.add_row("duplicates", f"{total.duplicates:,}")
    if total.files_quarantined:
        table.add_row("files quarantined whole", f"{total.files_quarantined:,}")
    if total.truncated:
        table.add_row("truncated", f"{total.truncated:,}")
    table.add_row("chunks", count(total.chunks))
    if total.chunks_encoded < total.chunks:
        share = 100 * total.chunks_encoded / total.chunks
        table.add_row("chunks encoded", f"{count(total.chunks_encoded)} ({share:.1f} %)")
    table.add_row("tokens", count(total.tokens))
    if total.segments:
        table.add_row("tokenised by", tokenizer_in_words(total))
    table.add_row("time", duration(seconds))
    if seconds > 0:
        table.add_row("documents/s", f"{(total.documents - before.documents) / seconds:,.1f}")
        table.add_row("tokens/s", count((total.tokens - before.tokens) / seconds))
    console.print(table)
    if total.label_counts:
        labels = Table("label", "documents", "share", title="Labels", title_justify="left")
        ordered = sorted(total.label_counts.items(), key=lambda item: -item[1])
        for name, number in ordered[:LABELS_SHOWN]:
            labels.add_row(name, f"{number:,}", f"{100 * number / max(1, total.labelled):.1f} %")
        if len(ordered) > LABELS_SHOWN:
            labels.add_row(f"{len(ordered) - LABELS_SHOWN} more", "", "")
        console.print(labels)
    if total.quarantined:
        console.print(
            f"{total.quarantined:,} documents are in {output}/_quarantine with their reasons.", soft_wrap=True
        )
    console.print(f"Output: {output}", soft_wrap=True)
