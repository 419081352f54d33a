"""Small corpora on disk in every format, for the tests of planning and reading."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.read import read_shard

CODECS = {"": None, ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
DELIMITERS = {"csv": ",", "tsv": "\t"}


def write_bytes(path: Path, data: bytes) -> Path:
    """Compressed by the name's extension, where it is that of a compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = CODECS.get(path.suffix)
    if codec is None:
        path.write_bytes(data)
    else:
        with pa.CompressedOutputStream(str(path), codec) as stream:
            stream.write(data)
    return path


def jsonl(rows: list[dict], ensure_ascii: bool = False) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ensure_ascii) + "\n" for row in rows).encode()


def delimited(rows: list[dict], delimiter: str = ",", line_end: str = "\n") -> bytes:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, list(rows[0]), delimiter=delimiter, lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def write_rows(folder: Path, stem: str, extension: str, rows: list[dict], row_group_size: int = 3) -> None:
    """``extension`` such as ``csv.gz``; plain text makes a file a row."""
    kind = extension.partition(".")[0]
    if kind == "parquet":
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{stem}.parquet", row_group_size=row_group_size)
    elif kind == "jsonl":
        write_bytes(folder / f"{stem}.{extension}", jsonl(rows))
    elif kind in DELIMITERS:
        write_bytes(folder / f"{stem}.{extension}", delimited(rows, DELIMITERS[kind]))
    else:
        for number, row in enumerate(rows):
            write_bytes(folder / f"{stem}-{number:05d}.{extension}", row["text"].encode())


def write_parquet(path: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), path)


def read_all(
    inputs: str | Path | list[str], columns: InputColumns | None = None, **plan_settings: object
) -> tuple[pa.Table, pa.Table]:
    """Plan and read every shard; each has exactly its planned rows. Gives the rows and the plan."""
    columns = columns or InputColumns()
    files = list_inputs([str(each) for each in inputs] if isinstance(inputs, list) else [str(inputs)], {})
    kept = check_columns(files, columns, {})
    plan = make_plan(files, columns, {}, **plan_settings)
    tables = []
    for shard in plan["shard"].unique().to_pylist():
        pieces = plan.filter(pc.equal(plan["shard"], shard))
        table = read_shard(pieces.to_pylist(), columns, kept, {})
        assert table.num_rows == pc.sum(pieces["num_rows"]).as_py()
        assert set(table["_shard"].to_pylist()) == {shard}
        tables.append(table)
    return pa.concat_tables(tables), plan


def reasons(table: pa.Table) -> list[str | None]:
    return table["quarantine_reason"].to_pylist()
