"""``python -m tests.benchmarks.scale``: the pipeline around a stand-in encoder of settable cost, at growing sizes.

Three tables. *Size*: documents/s and tokens/s through read, tokenise, stand-in, commit; the driver's memory, the object
store and what was spilled; seconds to plan, to resume a job that is 99 % done and one that is finished. *Encoders*: 1
to 8 actors that sleep instead of computing. *Skew*: one document in a thousand of the greatest length. Every run is a
process of its own, so that one's memory is not another's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
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
import pyarrow.parquet as pq

SAMPLE = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"
MODEL = Path(__file__).parents[1] / "data" / "rfc-model"
ROWS_A_FILE = 100_000
# How the cost of the stand-in reaches the actors, which inherit the environment.
SLEEP_VARIABLE = "STRIDEFORMER_BENCHMARK_SECONDS_PER_CHUNK"


def write_corpus(folder: Path, lengths: np.ndarray) -> None:
    """Documents of these many characters, cut from the embedded RFCs, as Parquet with string ids."""
    folder.mkdir(parents=True)
    book = "\n".join(pq.read_table(SAMPLE, columns=["text"]).column("text").to_pylist())
    book = "".join(character if character.isascii() else " " for character in book)
    generator = np.random.default_rng(0)
    for number, start in enumerate(range(0, len(lengths), ROWS_A_FILE)):
        some = lengths[start : start + ROWS_A_FILE]
        begins = generator.integers(0, len(book) - int(some.max()), len(some))
        texts = [book[begin : begin + length] for begin, length in zip(begins.tolist(), some.tolist(), strict=True)]
        ids = [f"document-{index}" for index in range(start, start + len(some))]
        table = pa.table({"doc_id": ids, "text": texts})
        pq.write_table(table, folder / f"{number:04d}.parquet", row_group_size=5_000)


class StandIn:
    """Takes what EncodeAndAggregate takes and gives what it gives, after sleeping for each chunk."""

    def __init__(self, model: Any, options: object) -> None:
        config = json.loads((model.fetch() / "config.json").read_text(encoding="utf-8"))
        self.labels = [config["id2label"][key] for key in sorted(config["id2label"], key=int)]
        self.seconds = float(os.environ.get(SLEEP_VARIABLE, "0"))
        self.ended: float | None = None

    def __call__(self, documents: pa.Table) -> pa.Table:
        from jobs.measures import add_measures
        from jobs.stages.columns import read_views, with_columns
        from jobs.stages.encode import INTERNAL

        started = time.perf_counter()
        views = read_views(documents)
        time.sleep(self.seconds * views.num_chunks)
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
        return add_measures(documents, wait=wait, encode=self.ended - started, forward=self.ended - started)


@contextmanager
def watched_store(found: dict[str, float]) -> Iterator[None]:
    """The most that Ray's object store held, and what it spilled, in MiB."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    stop = threading.Event()
    found |= {"store_mib": 0.0, "spilled_mib": 0.0}

    def look() -> None:
        while not stop.wait(0.5):
            stats = get_memory_info_reply(state).store_stats
            found["store_mib"] = max(found["store_mib"], stats.object_store_bytes_used / 2**20)
            found["spilled_mib"] = stats.spilled_bytes_total / 2**20

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def one_run(options: dict[str, Any]) -> dict[str, Any]:
    """One call of the classify job with the stand-in, in this process."""
    os.environ[SLEEP_VARIABLE] = str(options["seconds_per_chunk"])
    import ray

    import jobs.classify
    import jobs.sharded_job
    from jobs.settings import ClassifySettings

    jobs.classify.EncodeAndAggregate = StandIn  # type: ignore[misc, assignment]
    found: dict[str, Any] = {}
    plan = jobs.sharded_job.ShardedJob.start_or_resume

    def timed_plan(*arguments: Any) -> pa.Table:
        started = time.perf_counter()
        table = plan(*arguments)
        found["plan_seconds"] = time.perf_counter() - started
        found["shards"] = len(table.column("shard").unique())
        return table

    jobs.sharded_job.ShardedJob.start_or_resume = timed_plan  # type: ignore[method-assign]
    ray.init(
        address="local",
        num_cpus=options["cpus"],
        include_dashboard=False,
        object_store_memory=1 << 30,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = ClassifySettings(
        inputs=[options["corpus"]],
        output=options["output"],
        model=str(MODEL),
        id_column="doc_id",
        device="cpu",
        progress="none",
        profile=True,
        encoders=str(options["encoders"]),
        shard_rows=options.get("shard_rows"),
        resume=options.get("resume", False),
    )
    started = time.perf_counter()
    with watched_store(found):
        totals = jobs.classify.run(settings)
    found["seconds"] = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ray.shutdown()
    return found | {
        "documents": totals["documents"],
        "tokens": totals["tokens"],
        "chunks": totals["chunks"],
        "driver_mib": after / 1024,
        "driver_grew_mib": (after - before) / 1024,
        "profile": totals.get("profile"),
    }


def run(**options: Any) -> dict[str, Any]:
    """`one_run` in a process of its own; its last line is the answer."""
    options = {"seconds_per_chunk": 0.0, "encoders": 2, "cpus": 4} | options
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--one", json.dumps(options)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(finished.stderr[-3000:])
    answer: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return answer


def sizes(folder: Path, counts: list[int]) -> list[dict[str, Any]]:
    """Documents of about 400 characters, two thirds of a page of a letter, so that their number is what costs."""
    rows = []
    print(
        f"{'documents':>10}{'shards':>8}{'plan s':>8}{'run s':>8}{'doc/s':>8}{'tokens/s':>11}{'driver':>9}{'B/doc':>7}"
        f"{'store':>8}{'spilled':>9}{'99 % done':>11}{'finished':>10}"
    )
    for count in counts:
        corpus, output = folder / f"corpus-{count}", folder / f"output-{count}"
        write_corpus(corpus, np.random.default_rng(1).integers(200, 600, count))
        row = run(corpus=str(corpus), output=str(output))
        (output / "_SUCCESS").unlink()
        parts = sorted(output.glob("part-*.parquet"))
        for part in parts[:: max(1, min(100, len(parts) // 2))]:
            part.unlink()
        row["resume_99_seconds"] = run(corpus=str(corpus), output=str(output), resume=True)["seconds"]
        row["resume_finished_seconds"] = run(corpus=str(corpus), output=str(output), resume=True)["seconds"]
        per_document = row["driver_grew_mib"] * 2**20 / count
        print(
            f"{count:10,}{row['shards']:8}{row['plan_seconds']:8.1f}{row['seconds']:8.1f}"
            f"{count / row['seconds']:8.0f}{row['tokens'] / row['seconds']:11,.0f}{row['driver_mib']:5.0f} MiB"
            f"{per_document:7.0f}{row['store_mib']:4.0f} MiB{row['spilled_mib']:5.0f} MiB"
            f"{row['resume_99_seconds']:9.1f} s{row['resume_finished_seconds']:8.1f} s",
            flush=True,
        )
        rows.append(row)
        shutil.rmtree(corpus)
        shutil.rmtree(output)
    return rows


def encoders(folder: Path, numbers: list[int]) -> list[dict[str, Any]]:
    """Actors that sleep half a second a shard: how much of their time they sleep, from first shard to last."""
    corpus = folder / "corpus-encoders"
    write_corpus(corpus, np.full(16_000, 400))
    rows = []
    print(f"\n{'encoders':>10}{'shards':>8}{'busy s':>9}{'wait s':>9}{'efficiency':>12}")
    for number in numbers:
        output = folder / f"output-encoders-{number}"
        # 200 documents of one chunk each take half a second.
        row = run(
            corpus=str(corpus),
            output=str(output),
            encoders=number,
            cpus=16,
            shard_rows=200,
            seconds_per_chunk=0.0025,
        )
        row |= {"encoders": number, "efficiency": row["profile"]["device_share"]}
        seconds = row["profile"]["seconds"]
        wait, busy = seconds["wait_for_input"], seconds["forward"]
        print(f"{number:10}{row['shards']:8}{busy:9.1f}{wait:9.1f}{100 * row['efficiency']:10.1f} %", flush=True)
        rows.append(row)
    return rows


def skew(folder: Path) -> dict[str, Any]:
    """One document in a thousand has the greatest length that is read, 128 chunks; the others have one chunk."""
    corpus, output = folder / "corpus-skew", folder / "output-skew"
    lengths = np.full(16_000, 400)
    lengths[::1000] = 140_000
    write_corpus(corpus, lengths)
    row = run(corpus=str(corpus), output=str(output), encoders=4, cpus=16, seconds_per_chunk=0.004)
    idle = 1 - row["profile"]["device_share"]
    print(
        f"\nskew: {row['chunks']:,} chunks in {row['shards']} shards on 4 encoders, idle {100 * idle:.1f} % of the time"
    )
    return row | {"idle": idle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--encoders", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one_run(json.loads(arguments.one))))
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "RAY_AUTH_MODE": "disabled"}
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        folder = Path(temporary)
        os.environ["HOME"] = temporary
        found = {
            "sizes": sizes(folder, arguments.documents),
            "encoders": encoders(folder, arguments.encoders) if arguments.encoders else [],
            "skew": skew(folder),
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
