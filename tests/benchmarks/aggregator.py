"""``python -m tests.benchmarks.aggregator``: what the second model costs beside the first.

The second model has the sizes of a new `StrideformerConfig`, 24 layers and four times the parameters of MiniLM-L6,
and the chunk counts of the embedded RFCs, which it takes as one shard; its vectors and weights are random, which
compute as long as others. The first model encodes full chunks of the RFCs. Both as the job runs them; seconds a chunk
are compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strideformer import ChunkEncoder, Strideformer, StrideformerConfig
from strideformer.aggregation import DocumentAggregator
from tests.benchmarks.measuring import Goal, Spread, about, interleaved, machine, print_goals, print_table, write_json
from tests.benchmarks.texts import ENCODER, SAMPLE, long_chunks, read_documents

LABELS = 11
MOST_PERCENT = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=64, help="chunks that the first model encodes in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    encoder = ChunkEncoder.from_pretrained(ENCODER)
    texts = long_chunks(encoder.chunker, options.chunks)
    encoded = encoder.chunker.views(texts)
    counts = encoder.chunker.views(read_documents(SAMPLE)).chunk_counts
    torch.manual_seed(0)
    model = Strideformer(StrideformerConfig(num_labels=LABELS))
    aggregator = DocumentAggregator(model, encoder.device, encoder.dtype)
    vectors = torch.nn.functional.normalize(torch.randn((int(counts.sum()), encoder.hidden_size)), dim=1).half()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    runs = {
        "first model": lambda: encoder.encode_views(encoded),
        "second model": lambda: aggregator(vectors, offsets),
    }
    for run in runs.values():  # the warm-up
        run()
    seconds = interleaved(runs, options.rounds)
    chunks = {"first model": encoded.num_chunks, "second model": int(counts.sum())}
    each = {name: [1000 * taken / chunks[name] for taken in seconds[name]] for name in runs}
    share = Spread.of(
        100 * second / first for first, second in zip(each["first model"], each["second model"], strict=True)
    )
    rows: list[dict[str, Any]] = [
        {"name": name, "dtype": str(dtype).removeprefix("torch."), "milliseconds_per_chunk": Spread.of(each[name])}
        for name, dtype in (("first model", encoder.dtype), ("second model", aggregator.dtype))
    ]
    print(f"{about(machine())}\n{options.rounds} interleaved rounds, {torch.get_num_threads()} threads")
    title = f"{len(counts)} documents, {chunks['second model']:,} chunks through the second model"
    cells = [[row["name"], row["dtype"], row["milliseconds_per_chunk"].text(3)] for row in rows]
    print_table(("", "format", "ms a chunk"), cells, title)
    goals = [Goal("aggregator of default sizes, long documents", "the encoder", MOST_PERCENT, share, "%", at_most=True)]
    print_goals(goals)
    write_json(options.json, rows, goals)


if __name__ == "__main__":
    main()
