"""Charts as inline SVG: bars in the cells of a table, and histograms with a text that says what they show."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.reporting.markup import Html, number, tag

# Of the drawing in pixels where it has the room that the page gives it on a desk: text is as large as that around it.
WIDE, NARROW = (640, 190), (320, 130)
TOP, BOTTOM = 30, 32
GAP = 1.5


def bar(part: float, whole: float) -> Html:
    """A bar as long as a share of its cell; the number beside it says the same in words."""
    length = 0.0 if not whole else max(100 * part / whole, 0.5 if part else 0.0)
    return tag(
        "svg",
        tag("rect", class_="track", width=100, height=10),
        tag("rect", class_="fill", width=round(length, 2), height=10),
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def histogram(
    title: str, counts: Sequence[int], ranges: Sequence[str], ticks: Sequence[str], what: str, wide: bool = False
) -> Html:
    """Counts of consecutive ranges, as a figure.

    Args:
        title: above it.
        ranges: of each count, in words: they show where a pointer rests, and the text alternative has the fullest.
        ticks: below the axis, spread evenly from its one end to the other.
        what: is counted, in the plural.
        wide: by itself, and not beside others.
    """
    width, height = WIDE if wide else NARROW
    most, total = max(counts, default=0), sum(counts)
    across = width / max(1, len(counts))
    high = height - TOP - BOTTOM
    bars = []
    for index, count in enumerate(counts):
        tall = 0.0 if not count else max(high * count / most, 1.0)
        place = {
            "x": round(index * across + GAP / 2, 2),
            "y": round(TOP + high - tall, 2),
            "width": round(across - GAP, 2),
            "height": round(tall, 2),
        }
        words = tag("title", f"{ranges[index]}: {number(count)} {what}")
        whole = {"x": round(index * across, 2), "y": TOP, "width": round(across, 2), "height": high}
        bars.append(tag("g", words, tag("rect", class_="hover", **whole), tag("rect", class_="fill", **place)))
    labels = []
    last = len(ticks) - 1
    for index, tick in enumerate(ticks):
        anchor = "start" if index == 0 else "end" if index == last else "middle"
        labels.append(tag("text", tick, x=round(width * index / max(1, last), 2), y=height - 8, text_anchor=anchor))
    drawing = tag(
        "svg",
        tag("text", f"most: {number(most)}", x=width, y=TOP - 10, text_anchor="end", class_="faint"),
        tag("line", class_="axis", x1=0, x2=width, y1=TOP + high, y2=TOP + high),
        *bars,
        *labels,
        class_="histogram",
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=_in_words(title, counts, ranges, what, total),
    )
    return tag("figure", tag("figcaption", title), drawing)


def _in_words(title: str, counts: Sequence[int], ranges: Sequence[str], what: str, total: int) -> str:
    if not total:
        return f"{title}: no {what}"
    fullest = sorted(range(len(counts)), key=lambda index: -counts[index])[:3]
    most = "; ".join(f"{ranges[index]}: {number(counts[index])}" for index in fullest if counts[index])
    return f"{title}. {number(total)} {what}; most of them: {most}"
