"""Rounds of all contenders over each corpus, one after the other; see the package."""

from __future__ import annotations

import argparse
import atexit
import os
import secrets
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import tests.benchmarks.whole_job as package
from tests.benchmarks.measuring import Goal, Spread, about, machine, print_goals, print_table, ratio, write_json
from tests.benchmarks.texts import SAMPLE
from tests.benchmarks.whole_job.contender import Run, run
from tests.benchmarks.whole_job.documents import DTYPE_VARIABLE, MODEL_VARIABLE, Corpus, save_model, write_corpus
from tests.benchmarks.whole_job.lists import BATCH_VARIABLE

SAID = {
    "ours": "classify",
    "bare": "bare encoder, the same chunks",
    "ray_data": "Ray Data, sentence-transformers, groupby",
    "lists": "Curator's way: lists in pandas",
}
COLUMNS = ("", "whole s", "working s", "chunks/s", "after first shard", "times as long", "bytes/token", "same labels")


def rounds_of(corpus: Corpus, names: list[str], rounds: int, variables: dict[str, str]) -> dict[str, list[Run]]:
    """Every contender once a round; `bare` needs `ours` before it."""
    found: dict[str, list[Run]] = defaultdict(list)
    for _ in range(rounds):
        for name in names:
            output = corpus.folder.with_name(f"{corpus.folder.name}-{'ours' if name == 'bare' else name}")
            found[name].append(run(name, corpus.folder, output, variables))
            encoded = sum(found[name][-1].noted("chunks"))
            if encoded != corpus.chunks:
                raise SystemExit(f"{SAID[name]} encoded {encoded} chunks where the others have {corpus.chunks}")
    return found


def row_of(name: str, runs: list[Run], ours: list[Run], corpus: Corpus) -> dict[str, Any]:
    labels = ours[0].labels
    same = [100 * sum(run.labels[key] == labels[key] for key in labels) / len(labels) for run in runs if run.labels]
    return {
        "name": name,
        "wall": Spread.of(run.wall for run in runs),
        "working": Spread.of(run.working for run in runs),
        "chunks_per_second": Spread.of(corpus.chunks / run.working for run in runs),
        "steady": Spread.of(run.steady for run in runs if run.steady) if runs[0].steady else None,
        "ratio": ratio([run.working for run in runs], [run.working for run in ours]),
        "ratio_with_start": ratio([run.wall for run in runs], [run.wall for run in ours]),
        "bytes_per_token": bytes_per_token(runs[0], corpus),
        "same_labels": min(same) if same else None,
    }


def bytes_per_token(run: Run, corpus: Corpus) -> float | None:
    """Of what came into the encoder stage; the frames of `lists` were weighed once, and its chunks are all alike."""
    if weighed := run.noted("weighed_bytes"):
        return float(weighed[0] / run.noted("weighed_chunks")[0] * corpus.chunks / corpus.tokens)
    return sum(run.noted("bytes")) / corpus.tokens if run.noted("bytes") else None


def cells(row: dict[str, Any]) -> list[str]:
    return [
        SAID[row["name"]],
        row["wall"].text(1),
        row["working"].text(1),
        row["chunks_per_second"].text(1),
        row["steady"].text(1) if row["steady"] else "",
        row["ratio"].text(),
        f"{row['bytes_per_token']:.2f}" if row["bytes_per_token"] else "",
        f"{row['same_labels']:.1f} %" if row["same_labels"] is not None else "",
    ]


def goals_of(title: str, found: dict[str, list[Run]], rows: dict[str, dict[str, Any]], corpus: Corpus) -> list[Goal]:
    """What the project wants of these figures."""
    goals = []
    what = f"whole job, {title}"
    if "bare" in found and all(run.steady for name in ("ours", "bare") for run in found[name]):
        share = Spread.of(
            100 * job.steady / bare.steady
            for job, bare in zip(found["ours"], found["bare"], strict=True)
            if job.steady and bare.steady
        )
        goals.append(Goal(f"{what}, after the first shard", SAID["bare"], 95, share, "%", digits=1))
    goals += [Goal(what, SAID[name], 3, rows[name]["ratio"]) for name in ("ray_data", "lists") if name in rows]
    naive = f"{corpus.padded_bytes_per_token:.0f} of padded int64 ids, mask, types"
    weight = Spread.one(rows["ours"]["bytes_per_token"])
    goals.append(Goal(f"bytes through the object store for a token, {title}", naive, 3, weight, "bytes", True))
    return goals


def compare(
    title: str, path: Path, folder: Path, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[Goal]]:
    corpus = write_corpus(path, folder / "corpus", options.chunks)
    names = [name for name in SAID if name in options.contenders]
    variables = {BATCH_VARIABLE: str(options.batch), DTYPE_VARIABLE: options.dtype}
    found = rounds_of(corpus, names, options.rounds, variables)
    rows = {name: row_of(name, runs, found["ours"], corpus) for name, runs in found.items()}
    title += "" if options.dtype == "auto" else f", {options.dtype}"
    heading = f"{title}: {corpus.documents:,} documents, {corpus.tokens:,} tokens, {corpus.chunks:,} chunks"
    print_table(COLUMNS, map(cells, rows.values()), heading)
    return [{"corpus": title} | row for row in rows.values()], goals_of(title, found, rows, corpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=package.__doc__)
    parser.add_argument("--corpus", type=Path, nargs="*", default=[SAMPLE], help="Parquet files with a column text")
    parser.add_argument("--chunks", type=int, default=400, help="documents of a corpus till they have so many")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--contenders", nargs="*", default=list(SAID), help="ours is always needed")
    parser.add_argument("--dtype", default="auto", help="number format of `ours` and `bare`, as of classify")
    parser.add_argument("--batch", type=int, default=256, help="batch of the model stage of `lists`; 256 is Curator's")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    options.contenders = ["ours", *options.contenders]

    # Ray writes a token file into the home folder that would change later clusters of whoever measures.
    os.environ |= {"HF_HUB_OFFLINE": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    print(f"{about(machine())}\n{options.rounds} interleaved rounds, batches of {options.batch} for `lists`")
    rows: list[dict[str, Any]] = []
    goals: list[Goal] = []
    model = Path(tempfile.mkdtemp(prefix="whole-job-model-"))
    atexit.register(shutil.rmtree, model, ignore_errors=True)
    save_model(model)
    os.environ[MODEL_VARIABLE] = str(model)
    for path in options.corpus:
        with tempfile.TemporaryDirectory(prefix="whole-job-") as folder:
            os.environ["HOME"] = folder
            title = "embedded RFCs" if path == SAMPLE else path.parent.name
            more_rows, more_goals = compare(title, path, Path(folder), options)
            rows, goals = rows + more_rows, goals + more_goals
    print_goals(goals)
    write_json(options.json, rows, goals)


if __name__ == "__main__":
    main()
