"""The documents that the contenders label, as a folder of files of near equal work, and how they are cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.texts import CHECKPOINT, read_documents

MODEL_VARIABLE = "WHOLE_JOB_MODEL"
DTYPE_VARIABLE = "WHOLE_JOB_DTYPE"
MAX_LENGTH, STRIDE, MAX_CHUNKS = 384, 128, 128
FILES = 8
PADDED_BYTES = 3 * 8 * MAX_LENGTH  # ids, mask and token types of one padded chunk, int64 each


@dataclass(frozen=True)
class Corpus:
    """Documents of a folder; tokens are counted once each, whatever chunks they are in."""

    folder: Path
    documents: int
    chunks: int
    tokens: int

    @property
    def padded_bytes_per_token(self) -> float:
        """What naive int64 ids, masks and token types of padded chunks take."""
        return self.chunks * PADDED_BYTES / self.tokens


def save_model(folder: Path) -> None:
    """The embedded checkpoint without its bag of tokens, which contenders by hand would have to count themselves."""
    from transformers import AutoTokenizer

    from strideformer.model import Strideformer

    model = Strideformer.from_pretrained(CHECKPOINT)
    model.bag_of_tokens, model.config.bag_of_tokens = None, False
    model.save_pretrained(folder, include_first_model=False)
    AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(folder)


def model_folder() -> Path:
    """What every contender labels with, as the processes of the contenders are told."""
    return Path(os.environ[MODEL_VARIABLE])


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """The checkpoint's, as transformers loads it, once a process."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder())


@lru_cache(maxsize=1)
def aggregator() -> Any:
    """The checkpoint's second model, as the job runs it, once a process."""
    import torch

    from strideformer.aggregation import DocumentAggregator
    from strideformer.model import Strideformer

    return DocumentAggregator(Strideformer.from_pretrained(model_folder()), torch.device("cpu"))


def labels(vectors: np.ndarray, chunk_counts: np.ndarray) -> list[str]:
    """Chunk vectors of documents, one after the other, to their labels."""
    import torch

    run = aggregator()
    offsets = np.concatenate([[0], np.cumsum(chunk_counts)])
    logits = run(torch.from_numpy(np.ascontiguousarray(vectors)), offsets).logits
    return [run.model.config.id2label[index] for index in logits.argmax(axis=1).tolist()]


def write_corpus(path: Path, folder: Path, chunks: int) -> Corpus:
    """Documents of a Parquet file, by chance but the same each time, till they have so many chunks, in files.

    Every file has about as many chunks as any other. There are as few chunks as the file has.
    """
    from strideformer import Chunker

    chunker = Chunker(tokenizer(), MAX_LENGTH, STRIDE, MAX_CHUNKS)
    texts, counts, tokens = [], [], 0
    for text in read_documents(path):
        views = chunker.views([text])
        texts.append(text)
        counts.append(views.num_chunks)
        tokens += int(views.num_tokens.sum())
        if sum(counts) >= chunks:
            break
    before = np.cumsum(counts) - counts
    of_file = before * FILES // sum(counts)
    folder.mkdir(parents=True)
    table = pa.table({"doc_id": [f"document-{index:06d}" for index in range(len(texts))], "text": texts})
    for number in np.unique(of_file):
        pq.write_table(table.filter(pa.array(of_file == number)), folder / f"{number:04d}.parquet")
    return Corpus(folder, len(texts), int(sum(counts)), tokens)
