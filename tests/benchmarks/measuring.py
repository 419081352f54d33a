"""What the benchmarks share: interleaved rounds, medians with their spread, tables, and JSON. Needs no Ray.

A benchmark compares what it measures within a round, so that a machine that slows down slows all of them down, and
gives the median over the rounds with the least and the most. Its JSON has the machine, its rows, and the goals of the
project that it is the measure of, which ``python -m tests.benchmarks`` puts into one table.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "ray")


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, the least of them and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    @classmethod
    def one(cls, value: float) -> Spread:
        """Of what does not change from round to round."""
        return cls(value, value, value)

    def text(self, digits: int = 2) -> str:
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f} to {self.most:,.{digits}f}]"


@dataclass(frozen=True)
class Goal:
    """One row of the table of goals.

    Attributes:
        what, against: what is measured, and what it is compared with.
        wanted: the number to reach, or with ``at_most`` the number not to exceed.
        measured: what was found, in the same unit.
        unit: what both are counted in.
        digits: decimal places to print.
    """

    what: str
    against: str
    wanted: float
    measured: Spread
    unit: str = "times"
    at_most: bool = False
    digits: int = 2

    @property
    def met(self) -> bool:
        """Whether the median is good enough."""
        return self.measured.median <= self.wanted if self.at_most else self.measured.median >= self.wanted

    def cells(self) -> list[str]:
        sign = "≤" if self.at_most else "≥"
        measured = self.measured.text(self.digits)
        return [self.what, self.against, f"{sign} {self.wanted:g} {self.unit}", measured, "" if self.met else "not met"]


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each run in each round; warm up before. A round's runs follow one another."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as long the first takes as the second, round by round."""
    return Spread.of(theirs / ours for theirs, ours in zip(slow, fast, strict=True))


def rate(amount: float, seconds: Sequence[float]) -> Spread:
    """An amount a second."""
    return Spread.of(amount / taken for taken in seconds)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Left-aligned names, right-aligned figures."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    if title:
        print(f"\n{title}")
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip(), flush=True)


def print_goals(goals: Iterable[Goal], title: str = "Goals: median [least to most]") -> None:
    rows = [goal.cells() for goal in goals]
    if not rows:
        return
    lines = [["what", "against", "goal", "measured", ""], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    print(f"\n{title}")
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)


def machine() -> dict[str, Any]:
    """Where and when, as the JSON of a benchmark has it."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "versions": {name: found for name in PACKAGES if (found := installed(name)) is not None},
    }


def processor() -> str:
    """The model's name, and whether it multiplies bf16 by itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    natively = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{fields.get('model name', 'unknown')}, {family}, {' '.join(natively)}"


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def about(where: Mapping[str, Any]) -> str:
    """`machine` as a line for a person."""
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    return f"{where['date']} UTC, {where['processor']}, {where['cores']} cores, load {where['load']}\n{versions}"


def write_json(path: Path | None, rows: Sequence[Mapping[str, Any]], goals: Sequence[Goal] = (), **more: Any) -> None:
    """Write a benchmark's figures; spreads become their three numbers. Nothing without a path."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), **more, "rows": list(rows), "goals": [asdict(goal) for goal in goals]}
    path.write_text(json.dumps(record, indent=2, default=asdict, ensure_ascii=False) + "\n", encoding="utf-8")


def read_goals(path: Path) -> list[Goal]:
    """The goals that a benchmark wrote."""
    written = json.loads(path.read_text(encoding="utf-8"))["goals"]
    return [Goal(**goal | {"measured": Spread(**goal["measured"])}) for goal in written]
