"""Accuracy against the share of chunks encoded, for ``--early-exit`` at a set of confidences.

``python -m tests.benchmarks.early_exit STORE --model CHECKPOINT [--labels FILE --id-column doc_id]``.

STORE is what ``strideformer embed`` made of labelled documents that the model was not trained on; the labels are a
column that it kept, or in a file of their own. No encoder runs: the vectors of the chunks that would be encoded are
taken from the store, and the aggregator sees them as it does in the job. The second table is what there is to beat: as
many chunks of every document, spread over it in the same way, whatever its label.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch

from jobs.embeddings.embed_preflight import encoder_of_checkpoint
from jobs.embeddings.store import EmbeddingStore
from jobs.embeddings.store_preflight import require_same_encoder
from jobs.evaluation.truth import read_truth
from strideformer.aggregation import DocumentAggregator
from strideformer.aggregator import load_aggregator
from strideformer.early_exit import FIRST_ROUND, GROWTH, read_in_rounds
from strideformer.locations import checkpoint_folder
from strideformer.predictions import LabelSpace
from strideformer.token_bags import TokenBags

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9999)
NEVER = 2.0  # a confidence that no document reaches


@dataclass(frozen=True)
class Rounds:
    """What the model says of documents after each round, had they all been read that far.

    Attributes:
        scores: (rounds, documents, num_labels) float32; those of a document that is read whole stay as they are.
        read: (rounds, documents) int64, chunks read so far.
    """

    scores: np.ndarray
    read: np.ndarray


@dataclass(frozen=True)
class Point:
    """One row of a table; shares and accuracies in percent.

    Attributes:
        at: the confidence, or the most chunks of a document.
        chunks: share of all chunks that are encoded.
        accuracy: share of documents with the true label (with all of them and no other, for a multi-label model).
        agreement: share of documents with the labels that reading all of them gives.
        better, worse: documents that are right where reading all is wrong, and wrong where it is right.
        stopped: share of documents that are not read whole.
    """

    at: float
    chunks: float
    accuracy: float
    agreement: float
    better: int
    worse: int
    stopped: float


def read_rounds(
    aggregator: DocumentAggregator,
    labels: LabelSpace,
    vectors: torch.Tensor,
    chunk_offsets: np.ndarray,
    first_round: int = FIRST_ROUND,
    growth: float = GROWTH,
    bags: TokenBags | None = None,
) -> Rounds:
    """Read all documents to their ends, and note what there is to say on the way."""
    scores: list[np.ndarray] = []
    read: list[np.ndarray] = []
    documents = len(chunk_offsets) - 1

    def step(now: np.ndarray, of_open: np.ndarray) -> np.ndarray:
        logits = aggregator(vectors, chunk_offsets, of_open, bags).logits
        is_open = np.isfinite(logits).all(axis=1)
        scores.append(scores[-1].copy() if scores else np.zeros((documents, len(labels.names)), np.float32))
        scores[-1][is_open] = labels.scores(logits[is_open])
        new = np.diff(np.concatenate([[0], np.cumsum(now)])[chunk_offsets])
        read.append(new + (read[-1] if read else 0))
        return logits

    read_in_rounds(chunk_offsets, labels, NEVER, step, first_round, growth)
    return Rounds(np.stack(scores), np.stack(read))


def at_confidence(rounds: Rounds, labels: LabelSpace, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """(documents, num_labels) scores with which each document stops, and the (documents,) chunks it has read then."""
    sure = np.stack([labels.confidence(scores) for scores in rounds.scores]) >= confidence
    last = len(sure) - 1
    stop = np.where(sure.any(axis=0), sure.argmax(axis=0), last)
    documents = np.arange(sure.shape[1])
    return rounds.scores[stop, documents], rounds.read[stop, documents]


def point(
    at: float, labels: LabelSpace, truth: np.ndarray, whole: Rounds, scores: np.ndarray, read: np.ndarray
) -> Point:
    """How good and how costly it is to stop with these scores, having read so many chunks."""

    def given(of: np.ndarray) -> np.ndarray:
        mask = labels.labels(of)
        return mask if truth.ndim == 2 else mask.argmax(axis=1)[:, None]

    ours, theirs, true = given(scores), given(whole.scores[-1]), truth.reshape(len(truth), -1)
    right, was_right = (ours == true).all(axis=1), (theirs == true).all(axis=1)
    return Point(
        at=at,
        chunks=100 * float(read.sum() / whole.read[-1].sum()),
        accuracy=100 * float(right.mean()),
        agreement=100 * float((ours == theirs).all(axis=1).mean()),
        better=int((right & ~was_right).sum()),
        worse=int((~right & was_right).sum()),
        stopped=100 * float((read < whole.read[-1]).mean()),
    )


def true_labels(options: argparse.Namespace, documents: pa.Table) -> pa.Array:
    """The label of each document of the store: of its own column, or of the file by id."""
    if options.labels is None:
        return documents.column(options.label_column).combine_chunks()
    table = ds.dataset(options.labels).to_table(columns=[options.id_column, options.label_column])
    ids = table.column(options.id_column).cast(pa.string())
    places = pc.index_in(documents.column("doc_id"), value_set=ids.combine_chunks())
    if places.null_count:
        raise SystemExit(f"{places.null_count} documents of the store are not in {options.labels}: check --id-column")
    return table.column(options.label_column).combine_chunks().take(places.combine_chunks())


def show(title: str, points: Sequence[Point]) -> None:
    print(f"{title:>12}{'chunks':>9}{'accuracy':>10}{'as whole':>10}{'better':>8}{'worse':>7}{'stopped':>9}")
    for row in points:
        print(
            f"{row.at:12g}{row.chunks:8.1f}%{row.accuracy:9.2f}%{row.agreement:9.2f}%{row.better:8}{row.worse:7}"
            f"{row.stopped:8.1f}%"
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="output folder of strideformer embed")
    parser.add_argument("--model", required=True, help="checkpoint over the store's encoder")
    parser.add_argument("--label-column", default="label", help="kept in the store, or in --labels")
    parser.add_argument("--labels", help="Parquet, CSV or such with the labels, where the store has not kept them")
    parser.add_argument("--id-column", default="doc_id", help="of --labels")
    parser.add_argument("--confidences", default=",".join(map(str, CONFIDENCES)))
    parser.add_argument("--first-round", type=int, default=FIRST_ROUND)
    parser.add_argument("--growth", type=float, default=GROWTH)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    store = EmbeddingStore.open(options.store)
    folder, _ = checkpoint_folder(options.model)
    encoder, config, _ = encoder_of_checkpoint(folder)
    require_same_encoder(store, encoder, options.model)
    labels = LabelSpace.of(config)
    if config.bag_of_tokens:
        store.require_bags(options.model)
    stored = store.documents([options.label_column] if options.labels is None else [], config.bag_of_tokens)
    truth = read_truth(true_labels(options, stored.columns), labels.names, labels.problem_type)
    if not truth.usable.all():
        raise SystemExit(f"{int((~truth.usable).sum())} documents have no label, or one that the model has not")

    aggregator = DocumentAggregator(load_aggregator(folder), torch.device(options.device))
    vectors = torch.from_numpy(stored.chunk_vectors)
    how = (options.first_round, options.growth, stored.bags)
    rounds = read_rounds(aggregator, labels, vectors, stored.chunk_offsets, *how)
    confidences = [float(part) for part in options.confidences.split(",")]
    early = [
        point(each, labels, truth.values, rounds, *at_confidence(rounds, labels, each))
        for each in [*confidences, NEVER]
    ]
    fixed = [
        point(int(read.max()), labels, truth.values, rounds, scores, read)
        for scores, read in zip(rounds.scores, rounds.read, strict=True)
    ]
    whole = early.pop()
    counts = np.diff(stored.chunk_offsets)
    print(f"{len(counts)} documents of {counts.min()} to {counts.max()} chunks, {counts.sum()} in all")
    print(f"temperature {labels.temperature:g}, rounds of {sorted(set(rounds.read.max(axis=1).tolist()))} chunks")
    print(f"read whole: {whole.accuracy:.2f} % right\n")
    show("confidence", early)
    show("most chunks", fixed)
    as_good = [row for row in early if row.accuracy >= whole.accuracy]
    if as_good:
        least = min(as_good, key=lambda row: row.chunks)
        print(f"no less right than read whole with {least.chunks:.1f} % of the chunks, at confidence {least.at:g}")
    if options.json:
        record: dict[str, Any] = {
            "documents": len(counts),
            "chunks": int(counts.sum()),
            "first_round": options.first_round,
            "growth": options.growth,
            "temperature": labels.temperature,
            "accuracy_read_whole": whole.accuracy,
            "early_exit": [asdict(row) for row in early],
            "fixed": [asdict(row) for row in fixed],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
