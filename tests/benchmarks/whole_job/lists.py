"""NeMo Curator's way of moving data between a tokenizer stage and a model stage, in words of our own.

What its stages do (nemo_curator/stages/text/models, 2026), done here in plain Ray actors, one a stage, that hand each
other object references: a task is a pandas frame of one file; the tokenizer pads every row to the full length, stores
ids and masks as Python lists in the frame, sorts its rows by length and numbers them; the model stage turns lists
into tensors, cuts padding that no row of a batch needs, runs the model under autocast in batches of 256 (its
default), stores vectors as lists, and puts the rows back in order. Added, since it truncates where we cut into
chunks: the tokenizer gives a row a chunk, and a last stage gathers each document's rows in its frame and labels them,
without a shuffle.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jobs.loopback import start_on_loopback
from tests.benchmarks.texts import ENCODER
from tests.benchmarks.whole_job.documents import MAX_CHUNKS, MAX_LENGTH, STRIDE, aggregator, labels, tokenizer
from tests.benchmarks.whole_job.marks import encoding, note

BATCH_VARIABLE = "STRIDEFORMER_BENCHMARK_BATCH"
LOGICAL_CPUS = 4


class TokenizerStage:
    def process(self, file: str) -> pd.DataFrame:
        documents = pd.read_parquet(file, columns=["doc_id", "text"])
        tokens = tokenizer()(
            documents["text"].tolist(),
            return_overflowing_tokens=True,
            return_tensors="np",
            return_token_type_ids=False,
            padding="max_length",
            truncation=True,
            max_length=MAX_LENGTH,
            stride=STRIDE,
        )
        of_document = tokens["overflow_to_sample_mapping"]
        frame = pd.DataFrame({"doc_id": documents["doc_id"].to_numpy()[of_document]})
        frame["input_ids"] = tokens["input_ids"].tolist()
        frame["attention_mask"] = tokens["attention_mask"].tolist()
        frame["length"] = tokens["attention_mask"].sum(axis=1)
        frame = frame[frame.groupby("doc_id").cumcount() < MAX_CHUNKS].reset_index(drop=True)
        frame["order"] = np.arange(len(frame))
        return frame.sort_values("length", kind="stable", ignore_index=True).drop(columns="length")


class ModelStage:
    def __init__(self) -> None:
        import torch
        from transformers import AutoModel

        from strideformer.devices import cpu_multiplies_bf16

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.model = AutoModel.from_pretrained(ENCODER).eval()
        self.half = cpu_multiplies_bf16()
        self.batch = int(os.environ[BATCH_VARIABLE])
        self.weighed = False

    def process(self, frame: pd.DataFrame) -> pd.DataFrame:
        import torch

        with encoding(chunks=len(frame)), torch.no_grad():
            vectors = [self.encode(frame[start : start + self.batch]) for start in range(0, len(frame), self.batch)]
            labelled = frame[["doc_id", "order"]].assign(vector=torch.cat(vectors).numpy().tolist())
            labelled = labelled.sort_values("order", ignore_index=True)
        if not self.weighed:  # once: pickling a frame of lists takes its time
            self.weighed = True
            note(weighed_chunks=len(frame), weighed_bytes=len(pickle.dumps(frame, protocol=5)))
        return labelled

    def encode(self, frame: pd.DataFrame) -> Any:
        import torch

        ids = torch.tensor(frame["input_ids"].tolist())
        mask = torch.tensor(frame["attention_mask"].tolist())
        longest = int(mask.sum(dim=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float().masked_fill(mask.unsqueeze(-1) == 0, 0.0)
        pooled = states.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=1)


class LabelStage:
    def __init__(self) -> None:
        aggregator()

    def process(self, frame: pd.DataFrame, file: str) -> None:
        counts = frame.groupby("doc_id", sort=False).size()
        vectors = np.array(frame["vector"].tolist(), dtype=np.float32)
        labelled = pd.DataFrame({"doc_id": counts.index, "label": labels(vectors, counts.to_numpy())})
        labelled.to_parquet(file)


def run(corpus: Path, output: Path) -> None:
    import ray

    start_on_loopback(num_cpus=LOGICAL_CPUS, logging_level="ERROR")
    output.mkdir(parents=True)
    stages = [ray.remote(stage).options(num_cpus=1).remote() for stage in (TokenizerStage, ModelStage, LabelStage)]
    written = []
    for file in sorted(corpus.glob("*.parquet")):
        tokenised = stages[0].process.remote(str(file))
        written.append(stages[2].process.remote(stages[1].process.remote(tokenised), str(output / file.name)))
    ray.get(written)
