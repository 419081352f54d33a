"""Which options of the aggregator matter: each one trained over the vectors of a frozen encoder, several seeds each.

``python -m tests.benchmarks.ablation --train STORE --validation STORE [--seeds 3] [--only NAME,…]``.

A store is the output of ``strideformer embed … --keep-columns label``. The first row is the baseline, and each other
row is it with what is said changed. The epoch is chosen by validation accuracy, which all rows share; so a figure is a
little better than on unseen documents, and a difference smaller than the spread of the seeds says nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.ablation_rows import BASELINE, ROWS, Row
from tests.benchmarks.ablation_training import Outcome, Recipe, Store, load_stores, train

_STORES: list[Store] = []  # of a worker process, loaded once


@dataclass(frozen=True)
class Summary:
    """A row over its seeds; accuracies and F1 in percent, seconds of one seed."""

    name: str
    accuracy: float
    spread: float
    macro_f1: float
    log_loss: float
    epochs: float
    parameters: int
    seconds: float
    accuracies: list[float]


def start_worker(*stores: str) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _STORES.extend(load_stores(*stores))


def run(row: Row, recipe: Recipe, seed: int) -> Outcome:
    return train(row.config, recipe.changed(row.recipe), _STORES[0], _STORES[1], seed)


def summarized(name: str, outcomes: Sequence[Outcome]) -> Summary:
    accuracies = [100 * outcome.accuracy for outcome in outcomes]
    return Summary(
        name,
        statistics.mean(accuracies),
        statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        100 * statistics.mean(outcome.macro_f1 for outcome in outcomes),
        statistics.mean(outcome.log_loss for outcome in outcomes),
        statistics.mean(outcome.epochs for outcome in outcomes),
        outcomes[0].parameters,
        statistics.mean(outcome.seconds for outcome in outcomes),
        accuracies,
    )


def chosen_rows(only: str | None) -> list[Row]:
    """The rows asked for, or all but the slow ones; the baseline always."""
    if only is None:
        return [row for row in ROWS if not row.slow]
    names = [BASELINE, *(name for name in only.split(",") if name != BASELINE)]
    by_name = {row.name: row for row in ROWS}
    if unknown := [name for name in names if name not in by_name]:
        raise SystemExit(f"unknown rows {', '.join(unknown)}: use {', '.join(by_name)}")
    return [by_name[name] for name in names]


def summaries(options: argparse.Namespace, rows: Sequence[Row], recipe: Recipe) -> Iterator[Summary]:
    """Rows in their order, each as soon as its seeds are done."""
    stores = (options.train, options.validation, options.label_column)
    with ProcessPoolExecutor(
        options.processes, mp_context=get_context("spawn"), initializer=start_worker, initargs=stores
    ) as pool:
        waiting: list[list[Future[Outcome]]] = [
            [pool.submit(run, row, recipe, seed) for seed in range(options.seeds)] for row in rows
        ]
        for row, futures in zip(rows, waiting, strict=True):
            yield summarized(row.name, [future.result() for future in futures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="store of the training documents")
    parser.add_argument("--validation", required=True, help="store of the validation documents")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="names of rows, with commas between them; the baseline is always there")
    parser.add_argument("--processes", type=int, default=2, help="seeds at the same time, each in one thread")
    parser.add_argument("--json", type=Path, help="also write the figures here, row by row")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = parser.parse_args()
    recipe = Recipe(**{name: getattr(options, name) for name in asdict(Recipe())})
    rows = chosen_rows(options.only)

    sizes = [len(store.labels) for store in load_stores(options.train, options.validation, options.label_column)]
    print(f"{sizes[0]} documents to train on, {sizes[1]} to validate, {options.seeds} seeds, {recipe}\n")
    print(f"{'row':34}{'accuracy':>9}{'spread':>8}{'change':>8}{'macro F1':>10}{'loss':>7}", end="")
    print(f"{'epochs':>8}{'weights':>11}{'seconds':>9}")
    started, written = time.perf_counter(), []
    baseline: float | None = None
    for summary in summaries(options, rows, recipe):
        baseline = summary.accuracy if baseline is None else baseline
        change = summary.accuracy - baseline
        print(
            f"{summary.name:34}{summary.accuracy:9.2f}{summary.spread:8.2f}{change:+8.2f}{summary.macro_f1:10.2f}"
            f"{summary.log_loss:7.3f}{summary.epochs:8.1f}{summary.parameters:11,}{summary.seconds:9.1f}",
            flush=True,
        )
        written.append(asdict(summary))
        if options.json:
            record: dict[str, Any] = {"documents": sizes, "recipe": asdict(recipe), "rows": written}
            options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
