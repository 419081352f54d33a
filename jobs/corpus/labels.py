"""Ids and labels of a corpus, without its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
_WHY = ["source", "quarantine_reason"]
# What to do about ids that are there twice: in files of a person, and in what a job wrote, of which no row can go.
LEAVE_ONE = "leave one row for each id"
MAKE_ANEW = "label or embed its documents again without --id-column, so that each has an id of its own, source#row"


@dataclass(frozen=True)
class Labels:
    """The labels of a corpus by document id.

    Attributes:
        table: ``doc_id``: string, every one different; ``label``: of the column's type, null where there is none.
        unreadable: how many rows of a source are left out for a reason, by ``source: reason``; a file that cannot be
            read at all is one row.
    """

    table: pa.Table
    unreadable: dict[str, int] = field(default_factory=dict)


def read_labels(
    inputs: Sequence[str], id_column: str | None, label_column: str, file_format: str, options: Mapping[str, str]
) -> Labels:
    """The labels of a corpus by document id.

    Args:
        inputs: files, folders or globs, as classify takes them.
        id_column: None makes ids of source and row, as classify does.

    Raises:
        StrideformerError: an input or column is missing, there are no rows that can be read, or an id is there twice.
    """
    columns = InputColumns(text=None, id=id_column, keep=(label_column,))
    files = list_inputs(inputs, options, file_format)
    kept = check_columns(files, columns, options)
    plan = make_plan(files, columns, options, shard_rows=ROWS_AT_ONCE)
    if not plan.num_rows:
        raise StrideformerError(f"{', '.join(inputs)} holds no labels: check the path")
    shards = plan.column("shard").unique().to_pylist()
    tables = [read_shard(pieces, columns, kept, options) for pieces in shard_blocks(plan, shards)]
    readable = [table.filter(table.column("quarantine_reason").is_null()) for table in tables]
    unreadable = _counted(pa.concat_tables(table.select(_WHY) for table in tables))
    table = pa.concat_tables(table.select(["doc_id", label_column]) for table in readable).combine_chunks()
    if not table.num_rows:
        raise StrideformerError(
            f"no row of the labels can be read ({next(iter(unreadable))}): mend {', '.join(inputs)}"
        )
    table = table.rename_columns(["doc_id", "label"])
    require_unique(table.column("doc_id"), ", ".join(inputs), LEAVE_ONE)
    return Labels(table, unreadable)


def require_unique(ids: pa.Array | pa.ChunkedArray, where: str, remedy: str) -> None:
    """Refuse ids of which one stands twice: a join by them would be arbitrary.

    Args:
        ids: of documents.
        where: they stand.
        remedy: ``LEAVE_ONE`` or ``MAKE_ANEW``.

    Raises:
        StrideformerError: names one.
    """
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counted = pc.value_counts(ids)
    doubled = counted.filter(pc.greater(counted.field("counts"), 1))
    raise StrideformerError(
        f"{len(doubled)} ids stand more than once in {where}, such as {doubled[0]['values'].as_py()!r}: {remedy}"
    )


def _counted(rows: pa.Table) -> dict[str, int]:
    """How many rows of each source cannot be read, and why."""
    counted = rows.filter(rows.column("quarantine_reason").is_valid()).group_by(_WHY, use_threads=False)
    found = counted.aggregate([([], "count_all")]).to_pylist()
    return {f"{each['source']}: {each['quarantine_reason']}": each["count_all"] for each in found}
