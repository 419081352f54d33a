"""One call of the classify job with a stand-in for its encoder, measured from outside and inside; used by `scale`.

Run as ``python -m tests.benchmarks.scale_run OPTIONS``, a process for each call, so that the memory of one is not
another's; its last line is the answer, as JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.loopback import start_on_loopback
from tests.benchmarks.startup import processes, processor_seconds

MODEL = Path(__file__).parents[1] / "data" / "rfc-model"
# How the cost of the stand-in reaches the actors, which inherit the environment, and where they say when they worked.
COST_VARIABLE = "STRIDEFORMER_BENCHMARK_SECONDS_PER_TOKEN"
SPANS_VARIABLE = "STRIDEFORMER_BENCHMARK_SPANS"


class StandIn:
    """Takes what EncodeAndAggregate takes and gives what it gives, after sleeping for each token of each chunk."""

    def __init__(self, model: Any, options: object) -> None:
        config = json.loads((model.fetch() / "config.json").read_text(encoding="utf-8"))
        self.labels = [config["id2label"][key] for key in sorted(config["id2label"], key=int)]
        self.seconds = float(os.environ[COST_VARIABLE])
        self.spans = Path(os.environ[SPANS_VARIABLE]) / f"{os.getpid()}.txt"
        self.ended: float | None = None

    def __call__(self, documents: pa.Table) -> pa.Table:
        from jobs.measures import add_measures
        from jobs.stages.columns import read_views, with_columns
        from jobs.stages.encode import INTERNAL

        started = time.perf_counter()
        views = read_views(documents)
        time.sleep(self.seconds * int(views.chunk_lengths.sum()))
        rows = documents.num_rows
        scores = np.zeros((len(self.labels), rows), np.float32)
        scores[0] = 1
        fields = [pa.field(name, pa.float32()) for name in self.labels]
        documents = documents.drop_columns([name for name in INTERNAL if name in documents.column_names])
        documents = with_columns(
            documents,
            {
                "label": pa.array([self.labels[0]] * rows),
                "score": pa.array(np.ones(rows, np.float32)),
                "scores": pa.StructArray.from_arrays([pa.array(row) for row in scores], fields=fields),
            },
        )
        wait = started - (self.ended or started)
        self.ended = time.perf_counter()
        with self.spans.open("a", encoding="utf-8") as file:
            file.write(f"{started} {self.ended}\n")
        return add_measures(documents, wait=wait, encode=self.ended - started, forward=self.ended - started)


def busy_shares(folder: Path) -> list[float]:
    """Of each actor: the share of the time from its first shard to the end of the job's last in which it worked."""
    spans = [np.loadtxt(file, ndmin=2) for file in folder.glob("*.txt")]  # CLOCK_MONOTONIC, which processes share
    last = max((float(span[-1, 1]) for span in spans), default=0.0)
    return [float((span[:, 1] - span[:, 0]).sum() / (last - span[0, 0])) for span in spans]


def own_memory() -> float:
    """MiB that this process holds by itself; what it maps of Ray's object store is not counted."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def watched(found: dict[str, Any]) -> Iterator[None]:
    """The most that Ray's object store held, what it spilled, and the most of our own memory, in MiB."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    stop = threading.Event()
    found |= {"store_mib": 0.0, "spilled_mib": 0.0, "driver_mib": own_memory()}

    def look() -> None:
        while not stop.wait(0.5):
            stats = get_memory_info_reply(state).store_stats
            found["store_mib"] = max(found["store_mib"], stats.object_store_bytes_used / 2**20)
            found["spilled_mib"] = stats.spilled_bytes_total / 2**20
            found["driver_mib"] = max(found["driver_mib"], own_memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def everyone() -> float:
    """Processor seconds of this process and of all of Ray that it started."""
    return sum(map(processor_seconds, processes(os.getpid())))


def watch_progress(found: dict[str, Any]) -> None:
    """Note the time to plan, and when each shard was committed."""
    import jobs.sharded_job

    plan, receipts = jobs.sharded_job.ShardedJob.start_or_resume, jobs.sharded_job.receipts_of

    def timed_plan(*arguments: Any) -> tuple[pa.Table, str]:
        started = time.perf_counter()
        table, job = plan(*arguments)
        found["plan_seconds"] = time.perf_counter() - started
        found["shards"] = len(table.column("shard").unique())
        return table, job

    def timed_receipts(dataset: Any) -> Iterator[Any]:
        busy = of_all = 0.0
        found["committed"] = []
        for receipt in receipts(dataset):
            found["last"] = time.perf_counter()
            found["committed"].append((found["last"], receipt.documents))
            if "first" not in found:
                found["first"], found["mib_at_first"] = found["last"], own_memory()
                found["documents_of_first"] = receipt.documents
                busy, of_all = time.process_time(), everyone()
            yield receipt
        found["mib_at_last"] = own_memory()
        found["driver_busy_seconds"], found["busy_seconds"] = time.process_time() - busy, everyone() - of_all

    jobs.sharded_job.ShardedJob.start_or_resume = timed_plan  # type: ignore[assignment, method-assign]
    jobs.sharded_job.receipts_of = timed_receipts


def later_half(committed: list[tuple[float, int]]) -> float:
    """Documents/s from the shard with which half of the documents were done to the last."""
    times, documents = (np.array(column, np.float64) for column in zip(*committed, strict=True))
    done = np.cumsum(documents)
    half = int(np.searchsorted(done, done[-1] / 2))
    return float((done[-1] - done[half]) / max(times[-1] - times[half], 1e-9))


def one_run(options: dict[str, Any]) -> dict[str, Any]:
    """The job with these options, and what was found of it.

    Returns:
        ``seconds`` of the whole call with Ray already running; ``first_label_seconds`` of them up to the first
        committed shard; from there to the last, ``rate`` in documents/s, and processor time: ``driver_busy_seconds`` of
        the driver, ``busy_seconds`` of all processes; ``later_rate``, of the second half of the documents; memory in
        MiB; the totals of the job.
    """
    import ray

    import jobs.classify
    from jobs.settings import ClassifySettings

    os.environ[COST_VARIABLE] = str(options["seconds_per_token"])
    jobs.classify.EncodeAndAggregate = StandIn  # type: ignore[assignment, attr-defined]
    found: dict[str, Any] = {}
    watch_progress(found)
    settings = ClassifySettings(
        inputs=[options["corpus"]],
        output=options["output"],
        model=str(MODEL),
        id_column="doc_id",
        device="cuda" if options["gpus"] else "cpu",
        progress="none",
        profile=True,
        encoders=str(options["encoders"]),
        shard_rows=options.get("shard_rows"),
        resume=options.get("resume", False),
    )
    with tempfile.TemporaryDirectory() as spans:
        os.environ[SPANS_VARIABLE] = spans
        start_on_loopback(
            num_cpus=options["cpus"],
            num_gpus=options["gpus"],
            object_store_memory=1 << 30,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}},
        )
        started = time.perf_counter()
        with watched(found):
            totals = jobs.classify.run(settings)
        found["seconds"] = time.perf_counter() - started
        ray.shutdown()
        found["busy"] = busy_shares(Path(spans))
    if "first" in found:
        found["first_label_seconds"] = found["first"] - started
        later = totals["documents"] - found["documents_of_first"]
        found["rate"] = later / max(found.pop("last") - found.pop("first"), 1e-9)
        found["later_rate"] = later_half(found.pop("committed"))
    return found | {name: totals[name] for name in ("documents", "tokens", "chunks", "profile") if name in totals}


if __name__ == "__main__":
    print(json.dumps(one_run(json.loads(sys.argv[1]))))
