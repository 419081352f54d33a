from __future__ import annotations

import pytest

from jobs.output.console import figure_table, plain_console

EVIL = "\x1b]0;title\x07\x1b[2J\x9b1m\u202e[bold]x[/] :smile:"


def test_what_is_printed_is_seen_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console = plain_console()
    table = figure_table(EVIL, EVIL, title=EVIL)
    table.add_row(EVIL, "1,000")
    console.width = 200
    console.print(EVIL)
    console.print(table)
    shown = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\u202e") & set(shown)
    assert shown.count("[bold]x[/] :smile:") == 5
    assert "\u241b]0;title\u2407" in shown
