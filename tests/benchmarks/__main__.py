"""``make bench``, ``python -m tests.benchmarks``: what is compared with others, in a quarter of an hour.

Runs the benchmarks one after the other, each in a process of its own that prints its tables and writes them as JSON
into one folder, and puts the goals of the project that they measured into one table at the end. What takes longer, or
another machine, is by itself: see the README beside this file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.measuring import Goal, about, machine, print_goals, read_goals, write_json

# Each with what makes it fit into the quarter of an hour.
BENCHMARKS = {
    "encoder": ["--chunks", "64", "--rounds", "5"],
    "tokenise": ["--rounds", "7"],
    "aggregator": ["--rounds", "5"],
    "agreement": ["--limit", "20"],
    "startup": ["--rounds", "2"],
    "whole_job": ["--chunks", "1551", "--rounds", "2"],
}
FOLDER = Path("bench-output")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", default=list(BENCHMARKS), choices=list(BENCHMARKS), help="of the benchmarks"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the JSON files")
    options = parser.parse_args()

    goals: list[Goal] = []
    failed = []
    started = time.monotonic()
    for name in options.only:
        file = options.output / f"{name}.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *BENCHMARKS[name], "--json", str(file)]
        print(f"\n== {name}", flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        else:
            goals += read_goals(file)
    seconds = time.monotonic() - started
    print(f"\n== all, in {seconds / 60:.1f} minutes\n{about(machine())}")
    print_goals(goals)
    write_json(options.output / "goals.json", [], goals, seconds=round(seconds), failed=failed)
    if failed:
        print(f"{', '.join(failed)} failed: see above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
