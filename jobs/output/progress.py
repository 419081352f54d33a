"""Progress that a person can follow: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobs.output.receipt import Receipt, add_up

SECONDS_BETWEEN_LINES = 10.0


def count(number: float) -> str:
    """12345678 as ``12.3 M``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= size:
            return f"{number / (1e3 if unit == ' k' else size):.1f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """3725 as ``1:02:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Adds up receipts and shows them; a context manager around the run.

    Args:
        planned: documents in the plan.
        before: what earlier runs of the same job had committed; part of the share, not of the rate.
        style: ``auto``, ``bar``, ``plain`` or ``none``.
        doing: what it says once the first shard is committed.
    """

    def __init__(self, planned: int, before: Receipt, style: str = "auto", doing: str = "labelling") -> None:
        self.planned = planned
        self.before = before
        self.total = before
        self.started = time.monotonic()
        self.first_label_seconds: float | None = None
        self.state = "starting encoders"
        self.doing = doing
        self.console = Console(stderr=True)
        bar = style == "bar" or (style == "auto" and self.console.is_terminal)
        self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=2) if bar else None
        self._plain = style == "plain" or (style == "auto" and not bar)
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        elif self._plain:
            self._say(self.line())
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._live is not None:
            self._live.stop()
        elif self._plain:
            self._say(self.line())

    def add(self, receipt: Receipt) -> None:
        """One more shard is committed."""
        if self.first_label_seconds is None:
            self.first_label_seconds = self.seconds
        self.state = self.doing
        self.total = add_up([self.total, receipt])

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        """One line: documents, share, chunks, tokens, rates, time left, quarantined."""
        total, seconds = self.total, max(self.seconds, 1e-9)
        new = total.documents - self.before.documents
        rate = new / seconds
        left = duration((self.planned - total.documents) / rate) if rate else "?"
        share = 100 * total.documents / max(1, self.planned)
        tokens = (total.tokens - self.before.tokens) / seconds
        quarantined = f" · {total.quarantined:,} quarantined" if total.quarantined else ""
        if not new and total.documents < self.planned:
            return (
                f"{total.documents:,}/{self.planned:,} documents ({share:.1f} %) · {self.state} · {duration(seconds)}"
            )
        return (
            f"{total.documents:,}/{self.planned:,} documents ({share:.1f} %) · {count(total.chunks)} chunks · "
            f"{count(total.tokens)} tokens · {rate:,.1f} documents/s · {count(tokens)} tokens/s · "
            f"{duration(seconds)}, {left} left{quarantined}"
        )

    def _render(self) -> Table:
        grid = Table.grid(expand=False)
        width = 40
        done = int(width * self.total.documents / max(1, self.planned))
        grid.add_row(Text("█" * done, style="green") + Text("░" * (width - done), style="dim"))
        grid.add_row(Text(self.line()))
        return grid

    def _tick(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LINES):
            self._say(self.line())

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
