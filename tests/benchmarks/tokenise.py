"""Texts to chunk views against the tokenizer's own overflow call, side by side, on one core.

``python -m tests.benchmarks.tokenise`` takes the embedded RFCs, or any Parquet file with a column ``text``. Prints
medians of interleaved rounds and checks that every chunk has the same ids. Figures of one machine say little of
another; the ratios travel better.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when the tokenizer is first used: one core for everyone.
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from jobs.stages.chunk import Chunk, Chunking, load_chunker
from jobs.stages.columns import DETAIL, REASON
from strideformer import Chunker
from strideformer.tokenizing import TextTokenizer
from tests.benchmarks.measuring import (
    Goal,
    about,
    interleaved,
    machine,
    print_goals,
    print_table,
    rate,
    ratio,
    write_json,
)
from tests.benchmarks.texts import ENCODER, SAMPLE

MAX_LENGTH, STRIDE, EVERY_CHUNK = 384, 128, 1_000_000
WARM_UP_CHARACTERS = 4_000_000  # by then the fast tokenizer has started


class LocalModel:
    """Stands in for a job's model source."""

    def fetch(self) -> Path:
        return ENCODER


def read_texts(path: Path, most_characters: int) -> list[str]:
    """Texts of the file, from its beginning, till they have so many characters."""
    texts: list[str] = []
    for text in pq.read_table(path, columns=["text"]).column("text").to_pylist():
        if sum(map(len, texts)) >= most_characters:
            break
        texts.append(text)
    return texts


def without_fast() -> Chunker:
    """A chunker that never takes the fast tokenizer."""
    chunker = Chunker(AutoTokenizer.from_pretrained(ENCODER), MAX_LENGTH, STRIDE, EVERY_CHUNK)
    chunker._tokenizer = TextTokenizer(AutoTokenizer.from_pretrained(ENCODER), load_fast=lambda _: None)
    return chunker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=SAMPLE, help="a Parquet file with a column text")
    parser.add_argument("--characters", type=int, default=4_000_000, help="read no more texts beyond so many")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    texts = read_texts(options.corpus, options.characters)
    reference = without_fast()
    stage = Chunk(LocalModel(), Chunking(MAX_LENGTH, STRIDE, EVERY_CHUNK))  # type: ignore[arg-type]
    chunker = load_chunker(stage.model, stage.chunking)
    warmed = 0
    while warmed < WARM_UP_CHARACTERS:
        chunker.views(texts)
        warmed += sum(map(len, texts))
    overflow = AutoTokenizer.from_pretrained(ENCODER)
    nothing = pa.nulls(len(texts), pa.string())
    documents = pa.table({"_text": pa.array(texts, pa.large_string()), REASON: nothing, DETAIL: nothing})

    def overflowing() -> list[list[int]]:
        found: list[list[int]] = overflow(
            texts, return_overflowing_tokens=True, truncation=True, max_length=MAX_LENGTH, stride=STRIDE
        )["input_ids"]
        return found

    expected = overflowing()
    ours = [chunk for text in texts for chunk in chunker.input_ids(text)]
    if ours != expected or [chunk for text in texts for chunk in reference.input_ids(text)] != expected:
        raise SystemExit("the ids of a chunk differ")
    num_tokens = int(reference.views(texts).num_tokens.sum())
    stage_name = "chunk stage, Arrow to Arrow"
    runs: dict[str, Callable[[], object]] = {
        "tokenizers, overflow": overflowing,
        "Chunker, reference": lambda: reference.views(texts),
        f"Chunker, fast tokenizer ({chunker.fast_status.state})": lambda: chunker.views(texts),
        stage_name: lambda: stage(documents),
    }
    seconds = interleaved(runs, options.rounds, time.process_time)
    print(f"{about(machine())}\n{options.rounds} interleaved rounds, CPU time of one thread; {chunker.fast_status}")
    baseline = next(iter(runs))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "million_tokens_per_second": rate(num_tokens / 1e6, taken),
            "ratio": ratio(seconds[baseline], taken),
        }
        for name, taken in seconds.items()
    ]
    title = f"{len(texts)} texts, {num_tokens:,} tokens, {len(expected):,} chunks with the same ids in all"
    cells = [[row["name"], row["million_tokens_per_second"].text(), row["ratio"].text(1)] for row in rows]
    print_table(("", "M tokens/s", "times the overflow"), cells, title)
    corpus = "embedded RFCs" if options.corpus == SAMPLE else options.corpus.parent.name
    what = f"tokenise and chunk on one core, {corpus}, ids identical"
    goals = [Goal(what, "HF tokenizer's overflow", 8, ratio(seconds[baseline], seconds[stage_name]), digits=1)]
    print_goals(goals)
    write_json(options.json, rows, goals, corpus=corpus)


if __name__ == "__main__":
    main()
