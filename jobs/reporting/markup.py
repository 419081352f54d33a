"""HTML whose text is escaped by construction, and numbers as people read them."""

from __future__ import annotations

import html
from collections.abc import Sequence

from jobs.output.visible import VISIBLE

VOID = {"meta"}
LONGEST_TEXT = 160
NOTHING = "\N{EN DASH}"


class Html(str):
    """Text that is HTML already; any other is escaped where it is put into some."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | int | float | None) -> Html:
    """An element: ``tag("p", "1 < 2", class_="note")``. Of attributes ``_`` becomes ``-``; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{together(*children)}</{name}>")


def together(*children: str | None) -> Html:
    """Elements and texts, one after the other."""
    return Html("".join(each if isinstance(each, Html) else html.escape(each) for each in children if each is not None))


def foreign(value: object, longest: int = LONGEST_TEXT) -> Html:
    """A value of the corpus, without effect on what stands around it."""
    return tag("bdi", visible(str(value), longest))


def visible(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text of the corpus, cut to a bearable length, and all of it to be seen."""
    if len(text) > longest:
        text = f"{text[: longest * 3 // 4]} … {text[-(longest // 5) :]}"
    return text.translate(VISIBLE)


def table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str | None]], numeric: Sequence[int] = (), **more: str
) -> Html:
    """A table that may scroll sideways where it is too wide; the first column heads its rows.

    Args:
        caption: may hold a text of the corpus or of the model.
        numeric: columns that are set to the right.
        more: attributes, such as a class.
    """

    def cell(name: str, column: int, content: str | None, **attributes: str) -> Html:
        return tag(name, content, **attributes, class_="number" if column in numeric else None)

    head = tag("tr", *(cell("th", column, name, scope="col") for column, name in enumerate(heads)))
    body = [
        tag(
            "tr",
            cell("th", 0, row[0], scope="row"),
            *(cell("td", column, content) for column, content in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    caption = visible(caption)
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body), **more)
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def number(value: int) -> str:
    """12345 as ``12,345``."""
    return f"{value:,}"


def share(part: float, whole: float) -> str:
    """``12.3 %``, and nothing that is there as 0.0 %."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if 99.95 <= percent < 100 else f"{percent:.1f} %"


def decimal(value: float) -> str:
    """A score or a value in few digits: ``0.123``, ``12.30``, ``12,345``, ``1.23e+09``."""
    size = abs(value)
    if size < 10 and (size >= 0.001 or not size):
        return f"{value:.3f}"
    return f"{value:.2f}" if 10 <= size < 1000 else f"{value:,.0f}" if 1000 <= size < 1e7 else f"{value:.3g}"
