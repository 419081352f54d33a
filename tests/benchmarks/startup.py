"""``python -m tests.benchmarks.startup``: from the start of the classify command to its first committed label.

Each round runs ``python -m jobs.classify`` on the embedded sample in a process of its own, waits for the first part
file, and stops the job. The wall time of a busy machine says little, so the processor time that the command and all
its Ray processes had used by then is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Goal, Spread, about, machine, print_goals, print_table, write_json

DATA = Path(__file__).parents[1] / "data"
# In the order in which they end; each counts from the end of the one before. The encoder's process appears when Ray
# starts the actor: what follows is importing torch and transformers, loading the model and the first shard.
PHASES = ("imports", "preflight", "Ray", "plan", "encoder process", "first label")
CLOCK_TICK = os.sysconf("SC_CLK_TCK")
MOST_SECONDS = 600.0


def marked_run(marks: Path, arguments: list[str]) -> int:
    """The classify command, noting when its phases end; runs in a process of its own."""
    from jobs import classify, preflight, sharded_job

    ends = {"imports": time.time()}

    def mark(owner: Any, name: str, phase: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*positional: Any, **named: Any) -> Any:
            result = call(*positional, **named)
            ends[phase] = time.time()
            marks.write_text(json.dumps(ends))
            return result

        setattr(owner, name, timed)

    mark(preflight, "check", "preflight")
    mark(sharded_job, "connect", "Ray")
    mark(sharded_job.ShardedJob, "start_or_resume", "plan")
    return classify.main(arguments)


def one_round(output: Path) -> dict[str, float]:
    """Seconds of each phase, of all together, and of processor time."""
    marks = output.with_name("marks.json")
    marks.unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    sample, model = DATA / "rfc-sample" / "rfcs.parquet", DATA / "rfc-model"
    job = [str(sample), str(output), "--model", str(model), "--progress", "none"]
    started = time.time()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.startup", "--marks", str(marks), *job], stderr=subprocess.DEVNULL
    )
    ends: dict[str, float] = {}
    encoder: Path | None = None
    try:
        while not list(output.glob("part-*.parquet")):
            if child.poll() is not None or time.time() - started > MOST_SECONDS:
                raise SystemExit("the job ended, or ten minutes passed, without a label")
            if encoder is None and (encoder := encoder_process(child.pid)) is not None:
                ends["encoder process"] = time.time()
            time.sleep(0.1 if encoder is None else 0.02)
        ends["first label"] = time.time()
        used = {
            "processor": sum(map(processor_seconds, processes(child.pid))),
            "of the driver": processor_seconds(Path(f"/proc/{child.pid}")),
            "of the encoder": processor_seconds(encoder) if encoder is not None else 0.0,
        }
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        child.wait()
    ends |= json.loads(marks.read_text())
    seconds, before = {}, started
    for phase in PHASES:
        seconds[phase] = ends.get(phase, before) - before
        before = ends.get(phase, before)
    return seconds | {"wall": ends["first label"] - started} | used


def processes(root: int) -> list[Path]:
    """/proc folders of a process and all that descends from it."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return [Path("/proc") / str(process) for process in found]


def encoder_process(root: int) -> Path | None:
    """The /proc folder of the process that Ray named after the encoder stage."""
    for folder in processes(root):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::") and b"EncodeAndAggregate" in name:
            return folder
    return None


def processor_seconds(process: Path) -> float:
    """User and system time of a process and of its children that have ended."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / CLOCK_TICK


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--marks", type=Path, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.marks:
        return marked_run(options.marks, rest)

    with tempfile.TemporaryDirectory() as folder:
        rounds = [one_round(Path(folder) / "output") for _ in range(options.rounds)]
    print(f"{about(machine())}\n{options.rounds} rounds, seconds")
    found = {name: Spread.of(seconds[name] for seconds in rounds) for name in rounds[0]}
    print_table(("", "median [least to most]"), [[name, spread.text()] for name, spread in found.items()])
    goals = [Goal("start to first label, local Ray", "nothing", 10, found["wall"], "s", at_most=True)]
    print_goals(goals)
    write_json(options.json, [{"name": name, "seconds": spread} for name, spread in found.items()], goals)
    return 0


if __name__ == "__main__":
    sys.exit(main())
