"""Training the second model on the vectors of a frozen first model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strideformer.aggregation import DocumentAggregator
from strideformer.model import Strideformer


@dataclass(frozen=True)
class TrainingOptions:
    """How an aggregator is trained.

    Attributes:
        epochs: passes over the training documents.
        learning_rate: AdamW's peak, after a linear warm-up over a tenth of the steps; a cosine to zero follows.
        weight_decay: AdamW's, on matrices only.
        batch_size: documents in a step.
        seed: of the initial weights, the order of documents and dropout; the same seed on the same machine and
            thread count gives the same weights.
    """

    epochs: int = 30
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class EmbeddedDocuments:
    """Documents as the frozen first model left them.

    Attributes:
        chunk_vectors: (num_chunks, hidden_size) float16 or float32, all documents one after the other.
        chunk_offsets: (num_documents + 1,) int64.
        labels: (num_documents,) int64, or (num_documents, num_labels) float32 for multi-label and regression.
    """

    chunk_vectors: Tensor
    chunk_offsets: np.ndarray
    labels: Tensor

    def batch(self, documents: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(num_chunks, hidden_size) float32 vectors, (documents,) chunk counts and labels of some documents."""
        starts, ends = self.chunk_offsets[documents], self.chunk_offsets[documents + 1]
        rows = [self.chunk_vectors[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return (
            torch.cat(rows).float(),
            torch.from_numpy(ends - starts),
            self.labels[torch.from_numpy(documents)],
        )


def train_aggregator(
    model: Strideformer,
    training: EmbeddedDocuments,
    validation: EmbeddedDocuments,
    options: TrainingOptions,
    report: Callable[[int, float, float], None] = lambda epoch, loss, accuracy: None,
) -> float:
    """Train the second model and the classifier in place, keeping the epoch that does best on validation.

    Args:
        model: its first model is not touched.
        report: called after each epoch with the epoch, the mean training loss and validation accuracy.

    Returns:
        The best validation accuracy; ties go to the lower validation loss. The model holds that epoch's weights.
    """
    torch.manual_seed(options.seed)
    order = np.random.default_rng(options.seed)
    device = model.device
    trained = [p for name, p in model.named_parameters() if not name.startswith("first_model.")]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
    )
    num_documents = len(training.chunk_offsets) - 1
    steps = options.epochs * math.ceil(num_documents / options.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_then_cosine(steps))
    best: tuple[float, float] = (-1.0, -math.inf)
    best_weights: dict[str, Tensor] = {}
    for epoch in range(options.epochs):
        model.train()
        losses = []
        shuffled = order.permutation(num_documents)
        for start in range(0, num_documents, options.batch_size):
            vectors, counts, labels = training.batch(shuffled[start : start + options.batch_size])
            output = model(chunk_vectors=vectors.to(device), chunk_counts=counts.to(device), labels=labels.to(device))
            optimizer.zero_grad()
            output.loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(output.loss.detach()))
        accuracy, loss = evaluate(model, validation)
        report(epoch, sum(losses) / len(losses), accuracy)
        if (accuracy, -loss) > best:
            best = (accuracy, -loss)
            best_weights = {
                name: weight.detach().clone()
                for name, weight in model.state_dict().items()
                if not name.startswith("first_model.")
            }
    model.load_state_dict(best_weights, strict=False)
    model.eval()
    return best[0]


def evaluate(model: Strideformer, documents: EmbeddedDocuments) -> tuple[float, float]:
    """Accuracy and cross entropy on single-label documents."""
    logits = torch.from_numpy(
        DocumentAggregator(model, model.device)(documents.chunk_vectors, documents.chunk_offsets).logits
    )
    loss = torch.nn.functional.cross_entropy(logits, documents.labels)
    return float((logits.argmax(dim=1) == documents.labels).float().mean()), float(loss)


def join(vectors: Sequence[np.ndarray], labels: Tensor) -> EmbeddedDocuments:
    """Per-document (num_chunks, hidden_size) arrays, as ChunkEncoder.encode gives them, as one."""
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in vectors])]).astype(np.int64)
    return EmbeddedDocuments(torch.from_numpy(np.concatenate(vectors)), offsets, labels)


def _warm_up_then_cosine(steps: int) -> Callable[[int], float]:
    warm_up = max(1, steps // 10)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return factor
