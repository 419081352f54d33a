"""Training one aggregator over stored vectors, on one CPU thread or a GPU.

In float32: torch's bfloat16 matrix products for gradients took nine times as long on the CPU where this was written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import BertConfig

from jobs.embeddings.store import EmbeddingStore
from strideformer import Strideformer, StrideformerConfig


@dataclass(frozen=True)
class Store:
    """Documents as the frozen first model left them.

    Attributes:
        vectors: (num_chunks, width) float16.
        offsets: (documents + 1,) int64.
        labels: (documents,) int64.
    """

    vectors: Tensor
    offsets: np.ndarray
    labels: Tensor

    def batch(self, documents: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Float32 vectors, chunk counts and labels of some documents."""
        starts, ends = self.offsets[documents], self.offsets[documents + 1]
        rows = [self.vectors[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        device = self.vectors.device
        index = torch.from_numpy(documents).to(device)
        return torch.cat(rows).float(), torch.from_numpy(ends - starts).to(device), self.labels[index]


@dataclass(frozen=True)
class Recipe:
    """How each row is trained, unless it changes that itself.

    Attributes:
        epochs, patience: the most passes, and those without a better validation loss or accuracy after which it stops.
        learning_rate: AdamW's peak, after a warm-up over a tenth of the steps; a cosine to zero follows.
        weight_decay: of matrices.
        batch_size: documents in a step, of similar length.
        ema: decay of a running average of the weights, which is then what is evaluated; 0 is none.
        max_chunks: chunks of a document that are read.
        device: where; on a GPU one process is best.
    """

    epochs: int = 5
    patience: int = 5
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    batch_size: int = 16
    ema: float = 0.0
    max_chunks: int = 128
    device: str = "cpu"

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        return replace(self, **changes)


@dataclass(frozen=True)
class Outcome:
    """Validation figures of the best epoch by accuracy, ties by loss; accuracy and F1 are shares."""

    accuracy: float
    macro_f1: float
    log_loss: float
    epochs: int
    parameters: int
    seconds: float


def load_stores(train_folder: str, validation_folder: str, label_column: str) -> tuple[Store, Store]:
    """Both stores of ``strideformer embed``, with the labels numbered alike."""
    stores = [EmbeddingStore.open(folder).documents([label_column]) for folder in (train_folder, validation_folder)]
    labels = [np.array(store.columns.column(label_column).to_pylist()) for store in stores]
    names = np.unique(np.concatenate(labels))
    training, validation = (
        Store(
            torch.from_numpy(store.chunk_vectors),
            store.chunk_offsets,
            torch.from_numpy(np.searchsorted(names, of_store)),
        )
        for store, of_store in zip(stores, labels, strict=True)
    )
    return training, validation


def train(fields: Mapping[str, Any], recipe: Recipe, training: Store, validation: Store, seed: int) -> Outcome:
    """Train a new aggregator and tell how it did."""
    started = time.perf_counter()
    torch.manual_seed(seed)
    training, validation = (_cut(store, recipe) for store in (training, validation))
    model = _new_model(fields, recipe, training).to(recipe.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        fused=True,
    )
    steps = recipe.epochs * math.ceil(len(training.labels) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, steps, pct_start=0.1, cycle_momentum=False, div_factor=100
    )
    average = None
    if recipe.ema:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=False)
    order = np.random.default_rng(seed)
    best, best_loss, waited, epochs = (-1.0, -math.inf, 0.0), math.inf, 0, 0
    for _ in range(recipe.epochs):
        model.train()
        for documents in _bucketed(np.diff(training.offsets), recipe.batch_size, order):
            vectors, counts, labels = training.batch(documents)
            loss = model(chunk_vectors=vectors, chunk_counts=counts, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.update_parameters(model)
        epochs += 1
        judged = model
        if average is not None:
            judged = average.module
            for ours, theirs in zip(judged.buffers(), model.buffers(), strict=True):
                ours.copy_(theirs)
        accuracy, macro_f1, log_loss = evaluate(judged, validation)
        waited = 0 if (accuracy, -log_loss) > best[:2] or log_loss < best_loss else waited + 1
        best, best_loss = max(best, (accuracy, -log_loss, macro_f1)), min(best_loss, log_loss)
        if waited >= recipe.patience:
            break
    parameters = sum(parameter.numel() for parameter in trained)
    return Outcome(best[0], best[2], -best[1], epochs, parameters, time.perf_counter() - started)


@torch.inference_mode()
def evaluate(model: nn.Module, store: Store) -> tuple[float, float, float]:
    """Accuracy, macro F1 and log loss."""
    model.eval()
    counts = np.diff(store.offsets)
    logits = store.vectors.new_zeros(0)
    for documents in np.array_split(np.argsort(counts, kind="stable"), math.ceil(len(counts) / 64)):
        vectors, batch_counts, _ = store.batch(documents)
        of_batch = model(chunk_vectors=vectors, chunk_counts=batch_counts).logits
        logits = logits if len(logits) else of_batch.new_zeros(len(counts), of_batch.shape[1])
        logits[torch.from_numpy(documents).to(logits.device)] = of_batch
    given, classes = logits.argmax(dim=1), logits.shape[1]
    right = torch.bincount(store.labels[given == store.labels], minlength=classes)
    there = torch.bincount(store.labels, minlength=classes)
    f1 = 2 * right / (there + torch.bincount(given, minlength=classes)).clamp(min=1)
    return (
        float((given == store.labels).float().mean()),
        float(f1[there > 0].mean()),
        float(F.cross_entropy(logits, store.labels)),
    )


def _new_model(fields: Mapping[str, Any], recipe: Recipe, training: Store) -> Strideformer:
    """Over a first model that is never run, of the width of the vectors."""
    labels = int(training.labels.max()) + 1
    width = training.vectors.shape[1]
    first = BertConfig(vocab_size=1, hidden_size=width, num_hidden_layers=0, num_attention_heads=1, intermediate_size=1)
    chosen = {"num_labels": labels, "max_chunks": recipe.max_chunks, **fields}
    if chosen.get("class_weights") == "balanced":  # the square root is kinder to rare classes' noise
        counts = torch.bincount(training.labels, minlength=labels).clamp(min=1)
        chosen["class_weights"] = (len(training.labels) / (labels * counts)).sqrt().tolist()
    return Strideformer(StrideformerConfig.from_two_configs(first, chosen))


def _cut(store: Store, recipe: Recipe) -> Store:
    """Each document's first chunks, on the device."""
    counts = np.diff(store.offsets)
    place = np.arange(store.offsets[-1]) - np.repeat(store.offsets[:-1], counts)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, recipe.max_chunks))])
    vectors = store.vectors[torch.from_numpy(np.flatnonzero(place < recipe.max_chunks))]
    return Store(vectors.to(recipe.device), offsets, store.labels.to(recipe.device))


def _bucketed(counts: np.ndarray, batch_size: int, order: np.random.Generator) -> list[np.ndarray]:
    """Documents of similar chunk counts together, in another order each time."""
    noisy = np.argsort(counts * order.uniform(0.85, 1.15, len(counts)), kind="stable")
    batches = [noisy[start : start + batch_size] for start in range(0, len(noisy), batch_size)]
    return [batches[index] for index in order.permutation(len(batches))]
