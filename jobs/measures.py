"""What the stages measure of a shard, travelling with its rows to its receipt.

It lies in a column of its own: JSON in the first row, null in all others, which costs four bytes a row.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

COLUMN = "_measures"
# Not times but counts: documents identical to one before them in their shard; pieces of text that were tokenised, and
# those of them that the faster tokenizer took; and why that is off, in words, where it is.
DUPLICATES, SEGMENTS, SEGMENTS_FAST, FAST_OFF = "duplicates", "segments", "segments_fast", "fast_off"
NO_SECONDS = (DUPLICATES, SEGMENTS, SEGMENTS_FAST, FAST_OFF)


def add_measures(documents: pa.Table, **measures: float | str) -> pa.Table:
    """The shard with a stage's numbers, seconds by what took them, added to those of the stages before it."""
    total = measures_of(documents) | measures
    rest = documents.drop_columns([COLUMN]) if COLUMN in documents.column_names else documents
    values = [json.dumps(total), *[None] * (documents.num_rows - 1)][: documents.num_rows]
    return rest.append_column(COLUMN, pa.array(values, pa.string()))


def measures_of(documents: pa.Table) -> dict[str, Any]:
    """The numbers by name; none where nothing was measured."""
    if COLUMN not in documents.column_names or not documents.num_rows:
        return {}
    first = documents.column(COLUMN)[0].as_py()
    return dict(json.loads(first)) if first else {}
