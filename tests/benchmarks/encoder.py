"""``python -m tests.benchmarks.encoder``: chunk encoding on a CPU against sentence-transformers and the CPU's peak.

Texts of one chunk each go to both: *long chunks* of the embedded RFCs, *short texts* (ragged runs of their paragraphs,
168 tokens in the mean), and with ``--texts FILE.parquet`` the chunks of any documents. sentence-transformers runs at
its defaults, among which is that it sorts the texts by length before it cuts them into batches of 32; once in fp32,
which it would choose itself, and once with its weights in bf16. Both sides tokenise, encode, pool and normalise.
Where this CPU has it, `ChunkEncoder` runs in int8, too, which is for users to choose.

Printed: chunks/s, the ratio to sentence-transformers in either format, the least cosine to its fp32 vectors, and the
share of the peak of a matrix product in the same number format (for int8 in that of what it leaves), measured in the
same rounds, that the operations of real tokens come to.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from strideformer import ChunkEncoder, StrideformerError
from tests.benchmarks.encoder_work import CpuPeak, operations
from tests.benchmarks.measuring import (
    Goal,
    Spread,
    about,
    interleaved,
    machine,
    print_goals,
    print_table,
    rate,
    ratio,
    write_json,
)
from tests.benchmarks.texts import ENCODER, chunk_texts, lengths, long_chunks, read_documents, short_texts

PEER, PEER_BF16 = "sentence-transformers, its defaults", "sentence-transformers, bf16"
OURS_FP32, OURS, OURS_INT8 = "ChunkEncoder, fp32", "ChunkEncoder, as it chooses", "ChunkEncoder, int8"
LONG, SHORT = "long chunks", "short texts"
WANTED = {LONG: 5.0, SHORT: 6.0}
COLUMNS = ("", "format", "chunks/s", "times its defaults", "times its bf16", "1 - cosine", "of the peak")


class Encoders:
    """Those that are compared; each takes texts and gives (texts, width) vectors.

    Args:
        encoder: folder of the sentence-transformer that all of them run.
    """

    def __init__(self, encoder: Path = ENCODER) -> None:
        self.full = ChunkEncoder.from_pretrained(encoder, dtype="float32")
        self.chosen = ChunkEncoder.from_pretrained(encoder)
        peer, peer_bf16 = (
            SentenceTransformer(str(encoder), local_files_only=True, device="cpu", model_kwargs={"dtype": dtype})
            for dtype in (torch.float32, torch.bfloat16)
        )
        peer.max_seq_length = peer_bf16.max_seq_length = self.full.chunker.max_length
        self.formats = dict.fromkeys((PEER, OURS_FP32), torch.float32)
        self.formats |= {PEER_BF16: torch.bfloat16, OURS: self.chosen.dtype}
        self.runs: dict[str, Callable[[list[str]], np.ndarray]] = {
            PEER: peer.encode,
            PEER_BF16: peer_bf16.encode,
            OURS_FP32: lambda texts: np.concatenate(self.full.encode(texts)),
            OURS: lambda texts: np.concatenate(self.chosen.encode(texts)),
        }
        with suppress(StrideformerError):  # not on every CPU
            in_int8 = ChunkEncoder.from_pretrained(encoder, dtype="int8")
            self.formats[OURS_INT8] = in_int8.dtype
            self.runs[OURS_INT8] = lambda texts: np.concatenate(in_int8.encode(texts))


def least_cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left.astype(np.float64), right.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


def compare(kind: str, texts: list[str], encoders: Encoders, rounds: int) -> list[dict[str, Any]]:
    """Encode these texts with all of them in each round, and measure the peaks; a table, and its rows."""
    peaks = {dtype: CpuPeak(dtype) for dtype in set(encoders.formats.values())}
    found: dict[torch.dtype, list[float]] = {dtype: [] for dtype in peaks}
    runs: dict[str, Callable[[], np.ndarray]] = {name: partial(run, texts) for name, run in encoders.runs.items()}
    vectors = {name: run() for name, run in runs.items()}  # the warm-up
    measures: dict[str, Callable[[], object]] = {
        str(dtype): lambda peak=peak, into=found[dtype]: into.append(peak())  # type: ignore[misc]
        for dtype, peak in peaks.items()
    }
    seconds = interleaved(runs | measures, rounds)
    tokens = lengths(encoders.full.chunker, texts)
    work = operations(encoders.full.first_model.config, tokens)
    rows: list[dict[str, Any]] = []
    for name in runs:
        taken, dtype = seconds[name], encoders.formats[name]
        rows.append(
            {
                "kind": kind,
                "name": name,
                "dtype": "int8" if name == OURS_INT8 else str(dtype).removeprefix("torch."),
                "chunks_per_second": rate(len(texts), taken),
                "ratio": ratio(seconds[PEER], taken),
                "ratio_bf16": ratio(seconds[PEER_BF16], taken),
                "distance": 1 - least_cosine(vectors[name], vectors[PEER]),
                "share_of_peak": Spread.of(
                    100 * work / second / peak for second, peak in zip(taken, found[dtype], strict=True)
                ),
            }
        )
    print_table(COLUMNS, map(cells, rows), f"{kind}: {len(texts)} chunks, {tokens.mean():.0f} tokens in the mean")
    for dtype, values in found.items():
        print(
            f"peak of matrix products in {str(dtype).removeprefix('torch.')}: {Spread.of(values).text(0)} operations/s"
        )
    return [row | {"peak": Spread.of(found[encoders.formats[row["name"]]])} for row in rows]


def cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        row["dtype"],
        row["chunks_per_second"].text(1),
        row["ratio"].text(),
        row["ratio_bf16"].text(),
        f"{row['distance']:.1e}",
        f"{row['share_of_peak'].text(0)} %",
    ]


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """What the project wants of these figures."""
    found = []
    by = {(row["kind"], row["name"]): row for row in rows}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        ours, full, in_int8 = by[kind, OURS], by[kind, OURS_FP32], by.get((kind, OURS_INT8))
        what = f"encoder on CPU, {kind}"
        if kind not in WANTED:
            found.append(Goal(what, "sentence-transformers, which sorts by length", 1.0, ours["ratio"]))
            continue
        found += [
            Goal(what, PEER, WANTED[kind], ours["ratio"]),
            Goal(f"{what}, least cosine", "its fp32 vectors", 0.999, Spread.one(1 - ours["distance"]), "", digits=5),
            Goal(f"{what}, fp32", PEER, 2.4, full["ratio"]),
            Goal(f"{what}, fp32, 1 - cosine", "its fp32 vectors", 1e-6, Spread.one(full["distance"]), "", True, 9),
            Goal(what, PEER_BF16, 1.8, ours["ratio_bf16"]),
            Goal(what, f"peak of {ours['dtype']} products", 70, ours["share_of_peak"], "%", digits=0),
        ]
        if in_int8 is not None:
            distance = Spread.one(1 - in_int8["distance"])
            found += [
                Goal(f"{what}, int8", PEER, WANTED[kind], in_int8["ratio"]),
                Goal(f"{what}, int8, least cosine", "its fp32 vectors", 0.995, distance, "", digits=4),
            ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=64, help="long chunks; three times as many short texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="Parquet files with a column text")
    parser.add_argument("--only-texts", action="store_true", help="leave the embedded texts out")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    encoders = Encoders()
    chunker = encoders.full.chunker
    kinds = {LONG: long_chunks(chunker, options.chunks), SHORT: short_texts(chunker, 3 * options.chunks)}
    kinds = {} if options.only_texts else kinds
    for path in options.texts:
        kinds[f"{path.parent.name}/{path.name}"] = chunk_texts(chunker, read_documents(path), 2 * options.chunks)
    print(f"{about(machine())}\n{options.rounds} interleaved rounds, {torch.get_num_threads()} threads")
    rows = [row for kind, texts in kinds.items() for row in compare(kind, texts, encoders, options.rounds)]
    print_goals(goals(rows))
    write_json(options.json, rows, goals(rows))


if __name__ == "__main__":
    main()
