"""``python -m tests.benchmarks.report``: the report of a job of many parts: its time, and the memory of its process.

The parts are what classify writes of documents of random lengths and scores, a few hundred thousand of them, again and
again under other numbers. The report runs in a process of its own, so that its greatest memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.output.commit import part_name
from jobs.output.receipt import RECEIPT_KEY, Receipt
from jobs.output.record import OutputFolder
from tests.benchmarks.measuring import about, machine, print_table
from tests.jobs.reporting.outputs import MULTI, SINGLE, write_output

DIFFERENT_PARTS = 16


def write(folder: Path, parts: int, rows: int, labels: int, kind: str) -> None:
    """An output of so many parts of so many documents, of which every two hundredth is quarantined."""
    generator = np.random.default_rng(0)
    different = min(parts, DIFFERENT_PARTS)
    number = different * rows
    logits = generator.normal(size=(number, labels)).astype(np.float32) * 2.5
    scores = 1 / (1 + np.exp(-logits))
    if kind == SINGLE:
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tokens = (generator.lognormal(8, 1.2, number).astype(int) + 1).tolist()
    bad = generator.choice(number, number // 200, replace=False).tolist()
    names = [f"label {index}" for index in range(labels)]
    quarantined = dict.fromkeys(bad, ("empty_text", "the text is empty"))
    write_output(str(folder), scores, names, kind, tokens=tokens, quarantined=quarantined, shard_rows=rows)
    for shard in range(different, parts):
        for below in (folder, folder / "_quarantine"):
            copy_part(below, shard % different, shard)
    output = OutputFolder(str(folder), {})
    plan = output.read_plan()
    copies = pa.concat_tables([plan] * -(-parts // different)).slice(0, parts)
    output.write_plan(copies.set_column(0, plan.schema.field("shard"), [np.arange(parts)]))


def copy_part(folder: Path, shard: int, other: int) -> None:
    """The same documents as another shard."""
    if not (folder / part_name(shard)).exists():
        return
    table = pq.read_table(folder / part_name(shard))
    receipt = replace(Receipt.from_json(table.schema.metadata[RECEIPT_KEY]), shard=other)
    table = table.replace_schema_metadata({RECEIPT_KEY: receipt.to_json().encode()})
    pq.write_table(table, folder / part_name(other), compression="zstd")


def measured(folder: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds, and MiB at most, of one report."""
    # Linux counts what the process that started it held as the new one's ru_maxrss; VmHWM begins with its program.
    program = (
        "import pathlib, re, sys; from jobs.report import main; code = main(sys.argv[1:]); "
        "status = pathlib.Path('/proc/self/status').read_text(); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', status)[1], file=sys.stderr); sys.exit(code)"
    )
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, computed, int(done.stderr.split()[-1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=4096, help="documents of a part")
    parser.add_argument("--labels", type=int, default=11)
    parser.add_argument("--multi-label", action="store_true")
    arguments = parser.parse_args()
    kind = MULTI if arguments.multi_label else SINGLE
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "out", arguments.parts, arguments.rows, arguments.labels, kind)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        seconds, computed, memory = measured(Path(folder) / "out")
    columns = ("documents", "parts", "labels", "GB", "seconds", "processor seconds", "MiB at most")
    documents = f"{arguments.parts * arguments.rows:,}"
    sizes = (documents, f"{arguments.parts:,}", f"{arguments.labels:,}", f"{size / 1e9:.2f}")
    print_table(columns, [(*sizes, f"{seconds:.1f}", f"{computed:.1f}", f"{memory:.0f}")], f"Report ({kind})")
    print(about(machine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
