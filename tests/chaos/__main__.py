"""``make chaos``: jobs that are killed, cut off and starved, round after round, and every document counted.

``python -m tests.chaos --rounds 60 --seed 1`` prints one line a round and a table at the end, and exits with 1 if a
document was lost or doubled, or the job answered otherwise than it promises. ``--actions`` picks some by name. The
seed decides what happens and when, as far as a clock can. Mounting a small disk needs root: elsewhere those rounds
are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

# Before anything imports Ray or transformers: see tests/conftest.py.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "RAY_AUTH_MODE": "token",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 is not replaced: see jobs/loopback.py
}
os.environ.pop("RAY_ADDRESS", None)
NEEDS_ROOT = {"disk_full", "spill_full"}
DOCUMENTS = 384


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so many [60]")
    parser.add_argument("--actions", default="", help="comma-separated names; all by default")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and outputs")
    arguments = parser.parse_args()
    # Short: the sockets below it have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    os.environ["HOME"] = str(folder)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    failed = True
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the cluster and the server are ended, too
        signal.signal(number, signal.default_int_handler)
    try:
        failed = _run(folder, arguments)
    finally:
        if failed or arguments.keep:
            print(f"logs and outputs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _run(folder: Path, arguments: argparse.Namespace) -> bool:
    from tests.chaos.actions import WEIGHTS
    from tests.chaos.cluster import Cluster
    from tests.chaos.rounds import Round, Stage, a_store
    from tests.chaos.stores import Bucket

    chooser = random.Random(arguments.seed)
    wanted = set(filter(None, arguments.actions.split(",")))
    allowed = [each for each in WEIGHTS if not wanted or each.__name__ in wanted]
    if os.geteuid() != 0:
        allowed = [each for each in allowed if each.__name__ not in NEEDS_ROOT]
    bag = [each for each in allowed for _ in range(WEIGHTS[each])]
    chooser.shuffle(bag)
    bag.sort(key=lambda each, seen=defaultdict(itertools.count): next(seen[each]) / WEIGHTS[each])

    (folder / "logs").mkdir()
    table: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0.0])
    bucket = Bucket(folder)
    cluster = None
    begun = time.monotonic()
    try:
        model, ids = _make_input(folder, bucket)
        cluster = Cluster(folder / "ray", bucket.environment)
        stage = Stage(folder, cluster, bucket, model, ids, "s3://chaos/corpus/")
        print(f"{len(ids)} documents; storage and cluster are up after {time.monotonic() - begun:.0f} s", flush=True)
        for number in range(arguments.rounds):
            if time.monotonic() - begun > 60 * arguments.minutes:
                print(f"no more rounds after {arguments.minutes:g} minutes", flush=True)
                break
            action = bag[number % len(bag)]
            started = time.monotonic()
            seeded = random.Random(f"{arguments.seed}/{number}")
            one = Round(stage, number, seeded, a_store(stage, seeded), cluster)
            try:
                action(one)
                one.finish()
            except (TimeoutError, OSError, RuntimeError) as error:
                one.fault(f"{type(error).__name__}: {error}")
            finally:
                bucket.heal()
            seconds = time.monotonic() - started
            codes = [driver.poll() for driver in one.drivers]
            row = table[action.__name__]
            values = (1, one.account.lost, one.account.doubled, len(one.account.faults), len(codes), seconds)
            table[action.__name__] = [before + value for before, value in zip(row, values, strict=True)]
            where = type(one.store).__name__.lower()
            line = f"{number + 1:3} {action.__name__:20} {where:6} {seconds:5.0f} s  exit codes {codes}  {one.note}"
            print(line.rstrip(), flush=True)
            for fault in one.account.faults:
                print(f"      FAULT {fault}", flush=True)
        for upload in bucket.unfinished_uploads():
            table["(all uploads)"][3] += 1
            print(f"      FAULT an upload was begun and neither finished nor aborted: {upload}", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        if cluster is not None:
            cluster.stop()
        bucket.stop()
    return _print_table(table, arguments, time.monotonic() - begun)


def _make_input(folder: Path, bucket: object) -> tuple[Path, set[str]]:
    """A tiny model, and two files of documents on the S3 server, some of which cannot be labelled.

    In a process of its own: this one stays free of torch's and pyarrow's threads.
    """
    pid = os.fork()
    if not pid:
        try:
            _write_input(folder)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the input could not be made")
    for name in ("a.parquet", "b.jsonl"):
        bucket.put(f"corpus/{name}", (folder / name).read_bytes())  # type: ignore[attr-defined]
    ids = [f"doc-{index:05d}" for index in range(DOCUMENTS // 2)] + [f"more-{index}" for index in range(DOCUMENTS // 2)]
    return folder / "model", set(ids)


def _write_input(folder: Path) -> None:
    import json

    from tests.tiny import save_tiny_checkpoint, texts, write_corpus

    (folder / "model").mkdir()
    save_tiny_checkpoint(folder / "model")
    write_corpus(folder / "a.parquet", DOCUMENTS // 2, longest=60)
    with (folder / "b.jsonl").open("w") as file:
        for index, text in enumerate(texts(DOCUMENTS // 2, longest=60, seed=4)):
            given = None if index % 50 == 7 else "" if index % 50 == 9 else text
            file.write(json.dumps({"doc_id": f"more-{index}", "text": given, "topic": 1}) + "\n")


def _print_table(table: dict[str, list[float]], arguments: argparse.Namespace, seconds: float) -> bool:
    heads = ("rounds", "lost", "doubled", "faults", "drivers", "seconds")
    print(f"\n{'action':20} " + " ".join(f"{head:>8}" for head in heads))
    for name, values in table.items():
        print(f"{name:20} " + " ".join(f"{value:8.0f}" for value in values))
    total = [sum(values[column] for values in table.values()) for column in range(len(heads))]
    print(f"{'all':20} " + " ".join(f"{value:8.0f}" for value in total))
    if os.geteuid() != 0:
        print("left out, since mounting a small disk needs root: " + ", ".join(sorted(NEEDS_ROOT)))
    print(f"seed {arguments.seed}, {total[0]:.0f} rounds, {total[1]:.0f} lost, {total[2]:.0f} doubled, {seconds:.0f} s")
    return bool(total[1] or total[2] or total[3])


if __name__ == "__main__":
    sys.exit(main())
