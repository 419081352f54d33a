from __future__ import annotations

import pytest

from jobs.reporting.markup import Html, decimal, foreign, share, table, tag, together


def test_text_is_escaped_wherever_it_is_put() -> None:
    bad = "<script>&\"'"
    safe = "&lt;script&gt;&amp;&quot;&#x27;"
    assert tag("p", bad, title=bad, class_=None) == f'<p title="{safe}">{safe}</p>'
    assert together(bad, tag("b", bad)) == f"{safe}<b>{safe}</b>"
    assert foreign(bad) == f"<bdi>{safe}</bdi>"
    assert bad not in table(bad, [bad, bad], [[bad, bad]])


def test_elements_are_not_escaped_twice() -> None:
    assert tag("p", tag("b", "1 < 2"), None, Html("&amp;")) == "<p><b>1 &lt; 2</b>&amp;</p>"
    assert tag("meta", name="a", http_equiv="b") == '<meta name="a" http-equiv="b">'


def test_what_cannot_be_seen_is_made_visible_and_what_is_long_is_cut() -> None:
    assert foreign("a\x00\n\u202eb\x9f") == "<bdi>a\u2400\u240a\ufffdb\ufffd</bdi>"
    assert foreign("1\u200f2\u200e3\u061c4") == "<bdi>1\ufffd2\ufffd3\ufffd4</bdi>", "or 1-2 may look like 2-1"
    assert len(foreign("x" * 5_000_000)) < 200
    assert foreign("a" * 100 + "z" * 1000).endswith("zz</bdi>")


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(1, 3, "33.3 %"), (0, 5, "0.0 %"), (5, 5, "100.0 %"), (1, 10_000, "< 0.1 %"), (9999, 10_000, "> 99.9 %")],
)
def test_shares(part: int, whole: int, words: str) -> None:
    assert share(part, whole) == words


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.000"), (0.1234, "0.123"), (-12.3, "-12.30"), (12345.6, "12,346"), (1.5e9, "1.5e+09"), (2e-5, "2e-05")],
)
def test_decimals(value: float, words: str) -> None:
    assert decimal(value) == words
