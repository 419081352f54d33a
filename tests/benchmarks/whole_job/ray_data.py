"""What a person would write by hand: Ray Data, sentence-transformers at its defaults, and a group by document.

A row a chunk of text; sentence-transformers tokenises it again, sorts each batch by length and encodes it; Ray's
shuffle brings the chunks of a document together. Both models live in actors that start with the job, and the encoder
has every core, as ours has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from jobs.loopback import start_on_loopback
from tests.benchmarks.texts import ENCODER
from tests.benchmarks.whole_job.documents import MAX_CHUNKS, MAX_LENGTH, STRIDE, aggregator, labels, tokenizer
from tests.benchmarks.whole_job.marks import encoding

BATCH = 256  # rows that an encoder is handed; sentence-transformers sorts them and cuts them into 32 at a time
PARTITIONS = 8  # Ray's default of 200 costs more than so few documents
LOGICAL_CPUS = 4  # on two cores the stages would wait for each other's CPUs


def cut(row: dict[str, Any]) -> list[dict[str, Any]]:
    """One document to a row a chunk."""
    text = row["text"]
    found = tokenizer()(
        text,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        truncation=True,
        max_length=MAX_LENGTH,
        stride=STRIDE,
    )
    spans = [(offsets[1][0], offsets[-2][1]) for offsets in found["offset_mapping"][:MAX_CHUNKS]]
    return [
        {"doc_id": row["doc_id"], "chunk": number, "text": text[start:end]} for number, (start, end) in enumerate(spans)
    ]


class Encode:
    def __init__(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.model = SentenceTransformer(str(ENCODER), local_files_only=True, device="cpu")
        self.model.max_seq_length = MAX_LENGTH

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        texts = batch.pop("text").tolist()
        with encoding(chunks=len(texts), bytes=sum(len(text.encode()) for text in texts)):
            return batch | {"vector": self.model.encode(texts, show_progress_bar=False)}


class Label:
    def __init__(self) -> None:
        aggregator()

    def __call__(self, group: dict[str, np.ndarray]) -> dict[str, list[str]]:
        vectors = np.stack(list(group["vector"]))[np.argsort(group["chunk"])]
        return {"doc_id": [str(group["doc_id"][0])], "label": labels(vectors, np.array([len(vectors)]))}


def run(corpus: Path, output: Path) -> None:
    import ray
    import ray.data

    start_on_loopback(num_cpus=LOGICAL_CPUS, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    one = ray.data.ActorPoolStrategy(size=1)
    (
        ray.data.read_parquet(str(corpus), columns=["doc_id", "text"])
        .flat_map(cut)
        .map_batches(Encode, batch_size=BATCH, compute=one, num_cpus=1)
        .groupby("doc_id", num_partitions=PARTITIONS)
        .map_groups(Label, compute=one, num_cpus=0.5)
        .write_parquet(str(output))
    )
