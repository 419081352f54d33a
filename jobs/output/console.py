"""The console that totals and evaluations are printed on."""

from __future__ import annotations

from rich.console import Console


def plain_console(highlight: bool = True) -> Console:
    """A console that shows labels and paths as they are: rich would read markup in brackets and emoji in colons."""
    return Console(highlight=highlight, markup=False, emoji=False)
