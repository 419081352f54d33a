"""Encoding the documents that an aggregator is trained on, part by part, so that a run that is killed keeps them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file

from jobs.training.labelled import LabelledDocuments
from strideformer import ChunkEncoder
from strideformer.token_bags import TokenBags
from strideformer.training.documents import EmbeddedDocuments
from strideformer.training.pace import Pace

# A part ends with the document that fills it up: about 1,000 chunks of 384 tokens, half a minute on two cores.
BYTES_IN_A_PART = 1 << 20
DOCUMENTS_IN_A_PART = 256
TENSORS = {"chunk_vectors", "chunk_counts", "token_bag_ids", "token_bag_counts", "token_bag_sizes"}


def embed(
    encoder: ChunkEncoder, labelled: LabelledDocuments, labels: torch.Tensor, kept: Path | None, what: str
) -> EmbeddedDocuments:
    """The chunk vectors of documents, in float16, as the classify job rounds them.

    Args:
        encoder: of the texts.
        labelled: the documents.
        labels: as training takes them.
        kept: folder of the parts: those that are there are read, and the others written.
        what: the documents are called in lines of progress.
    """
    parts: list[dict[str, torch.Tensor]] = []
    started = time.monotonic()
    pace: Pace | None = None
    done = encoded = 0
    for start, stop in _parts(labelled):
        file = None if kept is None else kept / f"{start:08d}.safetensors"
        part = _kept(file)
        if part is not None:
            parts.append(part)
        else:
            pace = pace or Pace("embedded", len(labelled), f"{what} documents", before=done)
            parts.append(_encode(encoder, labelled, start, stop))
            encoded += stop - start
            if file is not None:
                file.parent.mkdir(exist_ok=True)
                save_file(parts[-1], file.with_suffix(".partial"))
                file.with_suffix(".partial").rename(file)
        done += stop - start
        if pace is not None:
            pace.at(done)
    counts = torch.cat([part["chunk_counts"] for part in parts]).numpy()
    vectors = torch.cat([part["chunk_vectors"] for part in parts])
    if encoded:
        seconds = time.monotonic() - started
        print(f"embedded {encoded:,} {what} documents, {len(vectors):,} chunks in {seconds:.0f} s", file=sys.stderr)
    bags = TokenBags(
        ids=torch.cat([part["token_bag_ids"] for part in parts]).numpy().astype(np.uint32),
        counts=torch.cat([part["token_bag_counts"] for part in parts]).numpy(),
        offsets=_offsets(torch.cat([part["token_bag_sizes"] for part in parts]).numpy()),
    )
    return EmbeddedDocuments(vectors, _offsets(counts), labels, bags)


def _kept(file: Path | None) -> dict[str, torch.Tensor] | None:
    """A part of a run before; None where there is none, or it is of a version that kept less of a document."""
    if file is None or not file.exists():
        return None
    part = load_file(file)
    return part if part.keys() >= TENSORS else None


def _encode(encoder: ChunkEncoder, labelled: LabelledDocuments, start: int, stop: int) -> dict[str, torch.Tensor]:
    views = encoder.chunker.views(*labelled.texts(start, stop))
    bags = TokenBags.of(views, encoder.device)
    return {
        "chunk_vectors": encoder.encode_views(views).half().cpu(),
        "chunk_counts": torch.from_numpy(views.chunk_counts),
        "token_bag_ids": torch.from_numpy(bags.ids.astype(np.int32)),
        "token_bag_counts": torch.from_numpy(bags.counts),
        "token_bag_sizes": torch.from_numpy(bags.sizes),
    }


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _parts(labelled: LabelledDocuments) -> Iterator[tuple[int, int]]:
    """First and last row of each part, which depend on nothing but the documents."""
    table = labelled.table
    texts = [table.column(name) for name in ("_text", "_text_pair") if name in table.column_names]
    lengths = sum(pc.binary_length(column).to_numpy() for column in texts)
    start = size = 0
    for row, length in enumerate(np.asarray(lengths).tolist()):
        size += length
        if size >= BYTES_IN_A_PART or row + 1 - start == DOCUMENTS_IN_A_PART:
            yield start, row + 1
            start, size = row + 1, 0
    if start < len(labelled):
        yield start, len(labelled)
