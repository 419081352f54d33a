"""The documents that a person should look at: the least sure ones, or the ends of a regression."""

from __future__ import annotations

import posixpath
from typing import Any

from jobs.reporting.label_scores import Labelling
from jobs.reporting.markup import NOTHING, Html, decimal, foreign, number, table, tag, together, visible

LABELS_OF_A_DOCUMENT = 5
LONGEST_PLACE = 1000


def least_sure(labels: Labelling, rows: list[dict[str, Any]]) -> Html:
    """A table of the least sure documents."""
    if labels.kind == "multi_label_classification":
        words = "The label in doubt is the one whose score is nearest to 0.5."
        heads = ["document", "labels given", "label in doubt", "its score", "tokens"]
        cells = [_of_several(row) for row in rows]
        return together(tag("p", words, class_="note"), _table("The least sure documents", heads, cells, (3, 4)))
    heads = ["document", "label", "score", "second best", "its score", "tokens"]
    cells = [_of_one(row) for row in rows]
    return _table("The least sure documents, by the score of their label", heads, cells, (2, 4, 5))


def ends(labels: Labelling, lowest: list[dict[str, Any]], highest: list[dict[str, Any]]) -> Html:
    """Tables of the documents with the lowest and the highest values."""
    name = labels.names[0]
    captions = (f"The lowest values of {name}", f"The highest values of {name}")
    return together(
        *(
            _table(caption, ["document", "value", "tokens"], [_of_value(row) for row in rows], (1, 2))
            for caption, rows in zip(captions, (lowest, highest), strict=True)
            if rows
        )
    )


def place(row: dict[str, Any]) -> Html:
    """A document's id, and below it its file and row, unless the id says that already."""
    at = "" if row["row"] is None else f"#{row['row']}"
    where = f"{row['source']}{at}"
    if row["doc_id"] in (None, where):
        return foreign(where)
    file = foreign(posixpath.basename(row["source"] or "") + at)
    return together(foreign(row["doc_id"]), tag("div", file, class_="note", title=visible(where, LONGEST_PLACE)))


def _table(caption: str, heads: list[str], rows: list[list[str | None]], numeric: tuple[int, ...]) -> Html:
    return table(caption, heads, rows, numeric=numeric, class_="documents")


def _of_one(row: dict[str, Any]) -> list[str | None]:
    others = {name: score for name, score in (row["scores"] or {}).items() if name != row["label"]}
    second = max(others, key=lambda name: others[name] or 0.0, default=None)
    return [
        place(row),
        foreign(row["label"]),
        f"{row['score']:.3f}",
        NOTHING if second is None else foreign(second),
        NOTHING if second is None else f"{others[second]:.3f}",
        _tokens(row),
    ]


def _of_several(row: dict[str, Any]) -> list[str | None]:
    scores: dict[str, float] = row["scores"]
    doubtful = min(scores, key=lambda name: abs(scores[name] - 0.5))
    given = row["label"]
    some = ", ".join(given[:LABELS_OF_A_DOCUMENT])
    more = f" and {number(len(given) - LABELS_OF_A_DOCUMENT)} more" if len(given) > LABELS_OF_A_DOCUMENT else None
    words = " (given)" if doubtful in given else " (not given)"
    return [
        place(row),
        together(foreign(some), more) if given else tag("span", "none", class_="faint"),
        together(foreign(doubtful), tag("span", words, class_="faint")),
        f"{scores[doubtful]:.3f}",
        _tokens(row),
    ]


def _of_value(row: dict[str, Any]) -> list[str | None]:
    return [place(row), decimal(row["score"]), _tokens(row)]


def _tokens(row: dict[str, Any]) -> str:
    return number(row["num_tokens"]) + ("+" if row["truncated"] else "")
