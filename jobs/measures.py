"""What the stages measure of a shard, travelling with its rows to its receipt.

It lies in a column of its own: JSON in the first row, null in all others, which costs four bytes a row.
"""

from __future__ import annotations

import json

import pyarrow as pa

COLUMN = "_measures"
# Not a time but a count: documents identical to one before them in their shard.
DUPLICATES = "duplicates"


def add_measures(documents: pa.Table, **measures: float) -> pa.Table:
    """The shard with a stage's numbers, seconds by what took them, added to those of the stages before it."""
    total = measures_of(documents) | measures
    rest = documents.drop_columns([COLUMN]) if COLUMN in documents.column_names else documents
    values = [json.dumps(total), *[None] * (documents.num_rows - 1)][: documents.num_rows]
    return rest.append_column(COLUMN, pa.array(values, pa.string()))


def measures_of(documents: pa.Table) -> dict[str, float]:
    """The numbers by name; none where nothing was measured."""
    if COLUMN not in documents.column_names or not documents.num_rows:
        return {}
    first = documents.column(COLUMN)[0].as_py()
    return dict(json.loads(first)) if first else {}
