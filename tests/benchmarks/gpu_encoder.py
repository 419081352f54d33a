"""``python -m tests.benchmarks.gpu_encoder``: the encoder loop on an accelerator, against its roofs and its peer.

Needs the library alone: torch and transformers, no Ray, no model download; see `random_encoders`. First the roofs,
measured: products in half precision (square ones, and of each encoder's own layers) and copies. Then each encoder
over chunks of a kind: *full* (384 tokens each), *ragged* (log-normal as English passages are, 16 to 384) and *short*
(16 to 96). The peer is what ``sentence_transformers.encode`` does on a GPU after tokenising: length-sorted batches of
32, padded, in fp16, through transformers' own forward; neither side tokenises.

Printed: chunks/s, the ratio to the peer, the shares of the peak of products and of the copies' bandwidth (of the bytes
that `encoder_work.traffic` counts), and the least cosine to fp32 by the model's own forward on a sample.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strideformer.chunking import Chunker, ChunkViews
from strideformer.devices import choose_device
from strideformer.encoder import ChunkEncoder
from strideformer.stopwatch import synchronize
from tests.benchmarks.encoder_work import DeviceRoofs, operations, traffic
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
from tests.benchmarks.random_encoders import (
    MAX_LENGTH,
    SHAPES,
    lengths,
    model,
    padded_batches,
    peer,
    tokenizer,
    views_of,
)

WANTED_RATIO = {"full": 1.5, "ragged": 2.0}
WANTED_SHARE = {"MiniLM-L6": 45.0, "MiniLM-L12": 45.0, "BERT-base": 60.0}
COLUMNS = ("model", "chunks", "budget", "chunks/s", "peer", "times the peer", "of peak", "of bandwidth", "1 - cosine")


class Bench:
    """One device with its roofs and number format."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = choose_device(options.device)
        on_cuda = self.device.type == "cuda"
        self.dtype = torch.float16 if on_cuda else torch.float32
        self.roofs = DeviceRoofs(self.device, torch.bfloat16 if on_cuda else torch.float32, tuple(options.roof_sizes))
        self.name = torch.cuda.get_device_name(self.device) if on_cuda else "CPU"

    def encoder(self, name: str, dtype: torch.dtype, budget: int = 0) -> ChunkEncoder:
        made = ChunkEncoder(
            model(name, self.options.layers),
            Chunker(tokenizer(), MAX_LENGTH, 0),
            normalize_embeddings=True,
            device=self.device,
            dtype=dtype,
            token_budget=budget or None,
        )
        if not budget and dtype is self.dtype and self.device.type == "cuda":
            made.search_token_budget()  # as an actor of a job does it when it starts
        return made

    def compare(self, name: str, kind: str) -> list[dict[str, Any]]:
        """One row a token budget."""
        tokens = lengths(kind, self.options.chunks)
        views = views_of(tokens)
        sample = np.linspace(0, len(tokens) - 1, min(64, len(tokens))).astype(np.int64)
        exact = self.encoder(name, torch.float32)
        exact.packed = None
        reference = exact.encode_views(views, sample)
        theirs = model(name, self.options.layers).to(device=self.device, dtype=self.dtype)
        encoders = {budget: self.encoder(name, self.dtype, budget) for budget in self.options.token_budgets}
        runs = {"peer": peer(theirs, padded_batches(views, tokens))}
        runs |= {f"budget {budget}": self.encoding(encoder, views) for budget, encoder in encoders.items()}
        vectors = {run: runs[run]() for run in runs}  # the warm-up
        seconds = interleaved(runs, self.options.rounds)
        config = theirs.config
        rows = []
        for budget, encoder in encoders.items():
            taken = seconds[f"budget {budget}"]
            given = vectors[f"budget {budget}"][torch.from_numpy(sample)]
            cosine = torch.cosine_similarity(given.double(), reference.cpu().double(), dim=1).min()
            work, moved = operations(config, tokens), traffic(config, int(tokens.sum()), self.dtype.itemsize)
            rows.append(
                {
                    "model": name,
                    "kind": kind,
                    "token_budget": encoder.token_budget,
                    "chunks_per_second": rate(len(tokens), taken),
                    "peer": rate(len(tokens), seconds["peer"]),
                    "ratio": ratio(seconds["peer"], taken),
                    "share_of_peak": Spread.of(100 * work / second / self.roofs.matmul for second in taken),
                    "share_of_bandwidth": Spread.of(100 * moved / second / self.roofs.copy for second in taken),
                    "distance": 1 - float(cosine),
                }
            )
        return rows

    def encoding(self, encoder: ChunkEncoder, views: ChunkViews) -> Callable[[], torch.Tensor]:
        """From views on the host to vectors on the host."""
        return lambda: encoder.encode_views(views).cpu()

    def print_roofs(self) -> None:
        print(f"{self.name}, {self.dtype}: products {self.roofs.matmul / 1e12:.2f} TFLOP/s,", end=" ")
        print(f"copies {self.roofs.copy / 1e9:,.0f} GB/s")
        for name in self.options.models:
            config = model(name, 1).config
            config.num_hidden_layers = self.options.layers or SHAPES[name]["num_hidden_layers"]
            one = np.array([MAX_LENGTH])
            work, moved = operations(config, one), traffic(config, MAX_LENGTH, self.dtype.itemsize)
            own = self.roofs.of_shapes(config, self.options.roof_tokens)
            print(f"{name}: {work / 1e9:.2f} GFLOP and {moved / 1e6:.1f} MB a full chunk; at most", end=" ")
            print(f"{self.roofs.matmul / work:,.0f} chunks/s by products,", end=" ")
            print(f"{own / work:,.0f} by products of its own shapes ({own / 1e12:.2f} TFLOP/s),", end=" ")
            print(f"{self.roofs.copy / moved:,.0f} by copies", flush=True)

    def trace(self, name: str, kind: str) -> None:
        """Where the device's time goes, kernel by kernel."""
        from torch.profiler import ProfilerActivity, profile

        encoder, views = self.encoder(name, self.dtype), views_of(lengths(kind, self.options.chunks))
        encoder.encode_views(views)
        on_cuda = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA] if on_cuda else [ProfilerActivity.CPU]) as found:
            encoder.encode_views(views)
            synchronize(self.device)
        order = "device_time_total" if on_cuda else "cpu_time_total"
        print(found.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60))


def cells(row: dict[str, Any]) -> list[str]:
    return [
        row["model"],
        row["kind"],
        str(row["token_budget"]),
        row["chunks_per_second"].text(0),
        row["peer"].text(0),
        row["ratio"].text(),
        f"{row['share_of_peak'].median:.1f} %",
        f"{row['share_of_bandwidth'].median:.1f} %",
        f"{row['distance']:.1e}",
    ]


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """What the project wants, of the fastest budget of each encoder and kind."""
    found = []
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: float(row["chunks_per_second"].median)):
        best[row["model"], row["kind"]] = row
    for (name, kind), row in best.items():
        what = f"{name} on GPU, {kind} chunks"
        if kind in WANTED_RATIO:
            found.append(Goal(what, "sentence-transformers' batches in fp16", WANTED_RATIO[kind], row["ratio"]))
        if kind == "full":
            found.append(Goal(what, "peak of bf16 products", WANTED_SHARE[name], row["share_of_peak"], "%", digits=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--kinds", nargs="*", default=["full", "ragged", "short"])
    parser.add_argument("--chunks", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--token-budgets", type=int, nargs="*", default=[0], help="0: what a job finds by itself")
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script on a CPU")
    parser.add_argument("--roof-sizes", type=int, nargs="*", default=[4096, 8192])
    parser.add_argument("--roof-tokens", type=int, default=16_384, help="rows of the products of an encoder's shapes")
    parser.add_argument("--trace", action="store_true", help="also print each encoder's kernels, on ragged chunks")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    bench = Bench(options)
    print(about(machine()))
    bench.print_roofs()
    rows = []
    for name in options.models:
        for kind in options.kinds:
            rows += bench.compare(name, kind)
        print_table(COLUMNS, [cells(row) for row in rows if row["model"] == name])
        if options.trace:
            bench.trace(name, "ragged")
    print_table(COLUMNS, map(cells, rows), f"{options.rounds} interleaved rounds of {options.chunks:,} chunks")
    wanted = goals(rows) if bench.device.type == "cuda" else []
    print_goals(wanted)
    roofs = {"device": bench.name, "matmul": bench.roofs.matmul, "copy": bench.roofs.copy}
    write_json(options.json, rows, wanted, roofs=roofs)


if __name__ == "__main__":
    main()
