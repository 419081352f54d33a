"""One contender's run: in a process of its own, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.benchmarks.whole_job.marks import FOLDER_VARIABLE, note, read_marks

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Run:
    """One run of one contender.

    Attributes:
        wall: seconds from the start of its process till the last label was written.
        working: the same from the first call of the encoder: without starting Python and Ray and loading models.
        steady: chunks a second after its first shard; None where there are no shards, or no second one.
        labels: by document; empty for the bare encoder.
        marks: what its processes noted.
    """

    name: str
    wall: float
    working: float
    steady: float | None
    labels: dict[str, str]
    marks: list[dict[str, Any]]

    def noted(self, name: str) -> list[Any]:
        return [mark[name] for mark in self.marks if name in mark]


def run(name: str, corpus: Path, output: Path, variables: dict[str, str]) -> Run:
    """Start a contender, wait for it, and read what it left."""
    marks = output.with_name(f"{output.name}-marks")
    shutil.rmtree(marks, ignore_errors=True)
    marks.mkdir(parents=True)
    if name != "bare":
        shutil.rmtree(output, ignore_errors=True)
    environment = os.environ | variables | {FOLDER_VARIABLE: str(marks), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.benchmarks.whole_job.contender", name, str(corpus), str(output)]
    started = time.time()
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr[-3000:]}")
    found = read_marks(marks)
    ended = next(mark["run_ended"] for mark in found if "run_ended" in mark)
    began = min(mark["began"] for mark in found if "began" in mark)
    steady = {"ours": steady_of_parts, "bare": steady_of_calls}.get(name)
    rate = steady(output, found) if steady else None
    given = {} if name == "bare" else labels_of(output)
    return Run(name, ended - started, ended - began, rate, given, found)


def steady_of_parts(output: Path, marks: list[dict[str, Any]]) -> float | None:
    """Chunks a second from the end of a job's first shard to the commit of its last; also leaves the shards for `bare`.

    The first shard ends with the encoder's first call, as it does for `bare`: its commit waits for a process to start,
    while the encoder goes on.
    """
    parts = sorted(output.glob("part-*.parquet"), key=lambda part: part.stat().st_mtime_ns)
    documents = [pq.read_table(part, columns=["doc_id"]).column("doc_id").to_pylist() for part in parts]
    (output / "_shards.json").write_text(json.dumps(documents))
    calls = sorted((mark for mark in marks if "began" in mark), key=lambda mark: float(mark["ended"]))
    if len(calls) < 2:
        return None
    seconds = parts[-1].stat().st_mtime_ns / 1e9 - calls[0]["ended"]
    return float(sum(call["chunks"] for call in calls[1:]) / seconds)


def steady_of_calls(output: Path, marks: list[dict[str, Any]]) -> float | None:
    """Chunks a second from the end of the first call to the end of the last."""
    calls = sorted((mark for mark in marks if "began" in mark), key=lambda mark: float(mark["ended"]))
    if len(calls) < 2:
        return None
    return float(sum(call["chunks"] for call in calls[1:]) / (calls[-1]["ended"] - calls[0]["ended"]))


def labels_of(output: Path) -> dict[str, str]:
    parts = [pq.read_table(part, columns=["doc_id", "label"]).to_pydict() for part in output.glob("*.parquet")]
    return {document: label for part in parts for document, label in zip(part["doc_id"], part["label"], strict=True)}


def main() -> None:
    name, corpus, output = sys.argv[1:]
    import_module(f"tests.benchmarks.whole_job.{name}").run(Path(corpus), Path(output))
    note(run_ended=time.time())
    # Ray takes seconds to end, which are nobody's here.


if __name__ == "__main__":
    main()
