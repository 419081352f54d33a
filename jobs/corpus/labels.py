"""Ids and labels of a corpus, without its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.read import read_shard
from jobs.corpus.source import shard_blocks
from strideformer.errors import StrideformerError

# Only ids and labels are held, so a shard may have many more rows than one of texts.
ROWS_AT_ONCE = 1 << 18


def read_labels(
    inputs: Sequence[str], id_column: str | None, label_column: str, file_format: str, options: Mapping[str, str]
) -> pa.Table:
    """The labels of a corpus by document id.

    Args:
        inputs: files, folders or globs, as classify takes them.
        id_column: None makes ids of source and row, as classify does.

    Returns:
        ``doc_id``: string, every one different; ``label``: of the column's type, null where there is none or the row
        cannot be read.

    Raises:
        StrideformerError: an input or column is missing, there are no rows, or an id is there twice.
    """
    columns = InputColumns(text=None, id=id_column, keep=(label_column,))
    files = list_inputs(inputs, options, file_format)
    kept = check_columns(files, columns, options)
    plan = make_plan(files, columns, options, shard_rows=ROWS_AT_ONCE)
    if not plan.num_rows:
        raise StrideformerError(f"{', '.join(inputs)} holds no labels: check the path")
    shards = plan.column("shard").unique().to_pylist()
    tables = [read_shard(pieces, columns, kept, options) for pieces in shard_blocks(plan, shards)]
    table = pa.concat_tables(table.select(["doc_id", label_column]) for table in tables).combine_chunks()
    table = table.rename_columns(["doc_id", "label"])
    require_unique(table.column("doc_id"), ", ".join(inputs))
    return table


def require_unique(ids: pa.Array | pa.ChunkedArray, where: str) -> None:
    """Refuse ids of which one stands twice: a join by them would be arbitrary.

    Raises:
        StrideformerError: names one.
    """
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counted = pc.value_counts(ids)
    doubled = counted.filter(pc.greater(counted.field("counts"), 1))
    raise StrideformerError(
        f"{len(doubled)} ids stand more than once in {where}, such as {doubled[0]['values'].as_py()!r}: "
        f"leave one row for each id"
    )
