"""A plan as tables that a person reads on a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from jobs.output.console import figure_table, plain_console
from jobs.output.progress import count
from jobs.planning.alternatives import Alternative
from jobs.planning.encoder_rate import EncoderRate
from jobs.planning.estimate import Estimate
from jobs.planning.inventory import Inventory
from jobs.stages.chunk import Chunking

WIDTH_OF_A_FILE = 120


@dataclass(frozen=True)
class Spread:
    """How a figure is spread over the documents; ``most`` is of those that were read."""

    median: int
    mean: float
    p90: int
    p99: int
    most: int


@dataclass(frozen=True)
class Totals:
    """What all documents come to.

    Attributes:
        tokens, chunks: as the job's last lines will count them.
        encoded: tokens as often as they are encoded, special ones included.
        again: of these, tokens of the overlaps beyond the first time.
        truncated, quarantined: documents.
    """

    tokens: Estimate
    chunks: Estimate
    encoded: Estimate
    again: Estimate
    truncated: Estimate
    quarantined: Estimate


@dataclass(frozen=True)
class Time:
    """Shards, and hours with their interval, of so many encoders; None where no rate is known."""

    encoders: int
    shards: int
    hours: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Outlook:
    """All that a plan tells.

    Attributes:
        job: classify, or embed of a bare encoder.
        sampled: different documents that were read; ``whole``: they are all.
        reasons: documents of the sample that would be quarantined, by reason.
    """

    job: str
    inventory: Inventory
    chunking: Chunking
    sampled: int
    whole: bool
    tokens_a_document: Spread | None
    chunks_a_document: Spread | None
    reasons: dict[str, int]
    totals: Totals
    rate: EncoderRate | None
    times: list[Time]
    alternatives: list[Alternative]


def print_outlook(outlook: Outlook) -> None:
    """Print everything, in the order in which it was found out."""
    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    _print_inventory(console, outlook.inventory)
    _print_spread(console, outlook)
    _print_totals(console, outlook)
    if outlook.alternatives:
        _print_times(console, outlook)
        _print_alternatives(console, outlook)
    else:
        console.print("No document that was read can be encoded: look at --text-column, and at the reasons.")


def _print_inventory(console: Console, inventory: Inventory) -> None:
    table = figure_table("format", "files", "stored", "documents", "read of each to count them", title="Corpus")
    for row in inventory.formats:
        table.add_row(row.format, f"{row.files:,}", _bytes(row.bytes), f"{row.documents:,}", row.read)
    if len(inventory.formats) > 1:
        table.add_row("all", f"{inventory.files:,}", _bytes(inventory.bytes), f"{inventory.documents:,}", "")
    console.print(table)
    if inventory.files_without_documents:
        console.print(f"{inventory.files_without_documents:,} files are empty.")
    if inventory.refused:
        console.print(f"Quarantined without having been read: {_reasons(inventory.refused)}.")


def _print_spread(console: Console, outlook: Outlook) -> None:
    many = f"all {outlook.sampled:,} documents" if outlook.whole else f"{outlook.sampled:,} documents, drawn at random"
    table = figure_table("a document has", "median", "mean", "90 %", "99 %", "most", title=f"Read: {many}")
    for name, spread in (("tokens", outlook.tokens_a_document), ("chunks", outlook.chunks_a_document)):
        if spread is not None:
            cells = (spread.median, spread.p90, spread.p99, spread.most)
            median, p90, p99, most = (f"{cell:,}" for cell in cells)
            table.add_row(name, median, f"{spread.mean:,.1f}", p90, p99, most)
    console.print(table)
    if outlook.reasons:
        console.print(f"Of these would be quarantined: {_reasons(outlook.reasons)}.")


def _print_totals(console: Console, outlook: Outlook) -> None:
    chunking, totals = outlook.chunking, outlook.totals
    console.print(
        f"In chunks of {chunking.max_length} tokens with a stride of {chunking.stride}, at most "
        f"{chunking.max_chunks:,} of a document."
    )
    title = f"All {outlook.inventory.documents:,} documents, {'counted' if outlook.whole else 'extrapolated'}"
    table = figure_table("in all", "", *([] if outlook.whole else ["95 % interval"]), title=title)
    rows = {
        "tokens": totals.tokens,
        "chunks": totals.chunks,
        "tokens to encode, as often as they are": totals.encoded,
        "of these a second time or more, for the stride": totals.again,
        "documents not read to the end": totals.truncated,
        "documents quarantined before they are encoded": totals.quarantined,
    }
    for name, found in rows.items():
        table.add_row(name, _number(found.value), *([] if outlook.whole else [_interval(found)]))
    console.print(table)


def _print_times(console: Console, outlook: Outlook) -> None:
    known = outlook.rate is not None
    columns = ["time", "95 % interval"] if known and not outlook.whole else ["time"] if known else []
    table = figure_table("encoders", "shards", *columns, title=f"{outlook.job.capitalize()}")
    for row in outlook.times:
        cells = [_hours(row.hours), f"{_hours(row.low)} to {_hours(row.high)}"] if known else []
        table.add_row(f"{row.encoders:,}", f"{row.shards:,}", *cells[: len(columns)])
    console.print(table)
    console.print(_rate_in_words(outlook.rate))


def _rate_in_words(rate: EncoderRate | None) -> str:
    if rate is None:
        return "How long that takes is not told: the encoder was not timed, and --tokens-per-second not given."
    speed = f"{rate.tokens_per_second:,.0f} tokens a second"
    if rate.device is None:
        return f"With {speed} of each encoder, as given, and nothing else to wait for."
    threads = f", {rate.threads} threads" if rate.threads else ""
    return (
        f"This machine's rate, as busy as it is now: one encoder takes {speed} ({rate.device}{threads}, {rate.dtype}; "
        f"{rate.chunks:,} chunks in {rate.seconds:.1f} s). Another machine has another: run this there, or give "
        "--tokens-per-second. Reading, tokenising and writing run beside the encoders, and the start comes before them."
    )


def _print_alternatives(console: Console, outlook: Outlook) -> None:
    hours = outlook.times[0].hours if outlook.times else None
    columns = ["stride", "max_chunks", "chunks", "encoding"]
    if hours is not None:
        columns.append(f"time of {outlook.times[0].encoders:,}")
    table = figure_table("settings", *columns, "cut short", "text not read", title="Other settings")
    for row in outlook.alternatives:
        cells = [f"{row.stride:,}", f"{row.max_chunks:,}", _number(row.chunks), _share(row.cost, 0)]
        if hours is not None:
            cells.append(_hours(hours * row.cost))
        table.add_row(row.name, *cells, _share(row.truncated, 1), _share(row.unread, 1))
    console.print(table)
    console.print("A model labels best as it was trained: what other settings do to its labels, evaluate tells.")


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())


def _number(value: float) -> str:
    return f"{value:,}" if value < 1e6 else count(value)


def _interval(found: Estimate) -> str:
    return f"{_number(found.low)} to {_number(found.high)}"


def _share(share: float, digits: int) -> str:
    return f"{100 * max(share, 0):.{digits}f} %"


def _bytes(number: int) -> str:
    return f"{count(number)}B" if number >= 1e4 else f"{number:,} B"


def _hours(hours: float | None) -> str:
    """As a person says it: 45 s, 4.5 min, 12 min, 3.4 h, 140 h."""
    if hours is None:
        return ""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.{int(hours < 1 / 6)}f} min"
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"
