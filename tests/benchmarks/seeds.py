"""``strideformer train`` with several seeds: ``python -m tests.benchmarks.seeds [--seeds 3] FLAGS_OF_TRAIN``.

One training tells little: seeds differ by more than most options do. Each figure is the mean over the seeds of the
best checkpoint on validation, with the standard deviation between seeds. ``--output`` and ``--seed`` are set here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs import train
from jobs.cli import parse
from jobs.train_settings import TrainSettings


def summarized(figures: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the seeds of each figure that all of them have."""
    names = [name for name in figures[0] if all(name in each for each in figures)]
    return {
        name: (
            statistics.mean(each[name] for each in figures),
            statistics.stdev(each[name] for each in figures) if len(figures) > 1 else 0.0,
        )
        for name in names
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the checkpoints, each under its seed")
    options, flags = parser.parse_known_args(arguments)
    figures, started = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for seed in range(options.seeds):
            own = ["--seed", str(seed), "--output", str(folder / f"seed-{seed}")]
            figures.append(train.run(parse("train", TrainSettings, [*flags, *own])))
    seconds = (time.perf_counter() - started) / options.seeds
    print(f"\n{options.seeds} seeds, {seconds:.0f} s each: strideformer train {' '.join(flags)}")
    for name, (mean, spread) in summarized(figures).items():
        print(f"{name:24}{mean:9.4f} ± {spread:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
