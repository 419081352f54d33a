"""The large rows of the table in jobs/corpus/README.md, at full size; each in a process whose memory is measured.

``make test-heavy`` runs them, ``make test`` smaller ones of the same kind. The bounds are far above what was measured
(the table), and far below what reading the whole input would take.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MIB = 1 << 20

# Reads shards one after the other, as one worker does, and keeps none.
PROGRAM = """
import json, sys, time
from collections import Counter
from pathlib import Path
from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.read import read_shard
from jobs.corpus.source import shard_blocks

def peak():  # MiB; not getrusage, whose maximum is inherited from the process that started this one
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

import pyarrow.parquet, pyarrow.json
before, started, columns = peak(), time.monotonic(), InputColumns()
files = list_inputs([sys.argv[1]], {})
kept = check_columns(files, columns, {})
plan = make_plan(files, columns, {})
planned_seconds, planning = time.monotonic() - started, peak() - before
shards = plan["shard"].unique().to_pylist()
reasons, rows, characters, largest = Counter(), 0, 0, 0
for block in shard_blocks(plan, shards):
    table = read_shard(block, columns, kept, {})
    assert table.num_rows == sum(block["num_rows"].to_pylist())
    rows += table.num_rows
    largest = max(largest, table.num_rows)
    reasons.update(table["quarantine_reason"].drop_null().to_pylist())
    characters += table["_text"].combine_chunks().nbytes
print(json.dumps({
    "planned": sum(plan["num_rows"].to_pylist()), "rows": rows, "shards": len(shards), "largest_shard": largest,
    "bytes": characters, "reasons": dict(reasons), "plan_seconds": round(planned_seconds, 1),
    "seconds": round(time.monotonic() - started, 1), "plan_mib": round(planning), "peak_mib": round(peak() - before),
}))
"""


def measure(folder: Path) -> dict[str, object]:
    """Plan and read everything in a process of its own; MiB are above what the imports take."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    print(folder.name, done.stdout.strip())
    found: dict[str, object] = json.loads(done.stdout)
    assert found["rows"] == found["planned"]
    return found


@pytest.mark.parametrize("where", ["alone", "between"])
def test_one_line_of_1_gb_json(tmp_path: Path, where: str) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        if where == "between":
            file.write(b'{"text": "before"}\n')
        file.write(b'{"text": "')
        for _ in range(1000):
            file.write(b"long words " * (1_000_000 // 11))
        file.write(b'"}\n')
        if where == "between":
            file.write(b'{"text": "after"}\n')
    found = measure(tmp_path)
    assert found["reasons"] == {"record_too_large": 1}
    assert found["rows"] == (3 if where == "between" else 1)
    assert found["peak_mib"] < 1000  # type: ignore[operator]


@pytest.mark.parametrize("extension", ["jsonl", "txt", "parquet", "csv"])
def test_one_document_of_200_mb(tmp_path: Path, extension: str) -> None:
    text = "long words " * (200_000_000 // 11)
    path = tmp_path / f"a.{extension}"
    if extension == "parquet":
        pq.write_table(pa.table({"text": [text]}), path)
    else:
        path.write_text({"jsonl": f'{{"text": "{text}"}}\n', "txt": text, "csv": f"text\n{text}\n"}[extension])
    found = measure(tmp_path)
    assert found["reasons"] == {}
    assert found["bytes"] >= len(text)  # type: ignore[operator]
    assert found["peak_mib"] < 3000  # type: ignore[operator]


@pytest.mark.parametrize("extension", ["txt", "jsonl"])
def test_100_000_tiny_files(tmp_path: Path, extension: str) -> None:
    for number in range(100_000):
        path = tmp_path / f"{number // 1000:03d}" / f"{number:06d}.{extension}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'{"text": "tiny"}\n' if extension == "jsonl" else b"tiny")
    found = measure(tmp_path)
    assert (found["rows"], found["reasons"], found["shards"]) == (100_000, {}, 196)
    assert found["peak_mib"] < 1000  # type: ignore[operator]


def test_one_row_group_of_1_000_000_rows(tmp_path: Path) -> None:
    texts = pa.array([f"row {number} of a million, each of some words" for number in range(1_000_000)])
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=1_000_000)
    found = measure(tmp_path)
    assert (found["rows"], found["reasons"]) == (1_000_000, {})
    assert found["largest_shard"] <= 4096  # type: ignore[operator]
    assert found["peak_mib"] < 1000  # type: ignore[operator]
