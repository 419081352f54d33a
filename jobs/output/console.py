"""The console that totals and evaluations are printed on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.output.visible import on_a_terminal


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(on_a_terminal(text), **options)


def plain_console(highlight: bool = True) -> Console:
    """A console that shows labels and paths as they are: rich would read markup in brackets and emoji in colons, and
    pass on what steers the terminal.
    """
    return _PlainConsole(highlight=highlight, markup=False, emoji=False)


def figure_table(first: str, *others: str, title: str) -> Table:
    """A table of figures to the right of what they are of."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table
