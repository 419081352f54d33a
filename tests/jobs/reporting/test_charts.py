from __future__ import annotations

import re

from jobs.reporting.charts import bar, histogram


def heights(chart: str) -> list[float]:
    return [float(found) for found in re.findall(r'class="fill"[^>]* height="([\d.]+)"', chart)]


def test_a_histogram_says_what_it_shows() -> None:
    chart = histogram("Scores", [0, 10, 5, 1], ["a", "b", "c", "d"], ["0", "1"], "documents")
    assert 'aria-label="Scores. 16 documents; most of them: b: 10; c: 5; d: 1"' in chart
    assert "<title>b: 10 documents</title>" in chart
    none, most, half, least = heights(chart)
    assert none == 0
    assert most == 2 * half
    assert least >= 1, "what is there can be seen"


def test_a_histogram_of_nothing_is_one_too() -> None:
    assert 'aria-label="Scores: no documents"' in histogram("Scores", [0, 0], ["a", "b"], ["0", "1"], "documents")
    assert "<svg" in histogram("Scores", [], [], [], "documents")


def test_bars_are_as_long_as_their_share() -> None:
    lengths = [re.findall(r'width="([\d.]+)"', bar(part, 200))[-1] for part in (200, 50, 0)]
    assert lengths == ["100.0", "25.0", "0.0"]
    assert 'width="0.5"' in bar(1, 1_000_000)
    assert bar(0, 0)
