"""The few figures by which the best checkpoint is chosen while a model is trained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor, distributed
from torch.nn import functional

from strideformer.errors import StrideformerError
from strideformer.label_figures import label_points
from strideformer.model import Strideformer
from strideformer.training.batches import Collate, pack
from strideformer.training.documents import Documents, EpochDataset, TokenizedDocuments
from strideformer.training.encoded import EncodedDocuments
from strideformer.training.options import TrainingOptions
from strideformer.training.pace import Pace

# The first of each is the default.
METRICS = {
    "single_label_classification": ("accuracy", "f1_macro", "f1_weighted", "loss"),
    "multi_label_classification": ("f1_micro", "f1_macro", "accuracy", "loss"),
    "regression": ("mean_squared_error", "mean_absolute_error", "r2", "loss"),
}
LOWER_IS_BETTER = ("loss", "mean_squared_error", "mean_absolute_error")


def choose_metric(metric: str | None, problem_type: str) -> str:
    """The metric of a problem type.

    Raises:
        StrideformerError: it has no such metric.
    """
    known = METRICS[problem_type]
    if metric is not None and metric not in known:
        raise StrideformerError(f"metric {metric!r} does not suit {problem_type}: use one of {', '.join(known)}")
    return metric or known[0]


def _plain_loss(logits: Tensor, labels: Tensor, problem_type: str) -> float:
    """Without class weights, smoothing or focus: those shape what is learnt, this is what was learnt."""
    if problem_type == "regression":
        return float(functional.mse_loss(logits.reshape(labels.shape), labels.float()))
    if problem_type == "single_label_classification":
        return float(functional.cross_entropy(logits, labels))
    return float(functional.binary_cross_entropy_with_logits(logits, labels.float()))


def measure(logits: Tensor, labels: Tensor, problem_type: str) -> dict[str, float]:
    """Figures of predictions.

    Args:
        logits: (documents, num_labels) float32.
        labels: (documents,) int64 classes, or (documents, num_labels) float32.
        problem_type: one of transformers' three.
    """
    loss = _plain_loss(logits, labels, problem_type)
    truth = labels.numpy()
    if problem_type == "regression":
        values = logits.numpy().reshape(truth.shape)
        return {
            "mean_squared_error": float(mean_squared_error(truth, values)),
            "mean_absolute_error": float(mean_absolute_error(truth, values)),
            "r2": float(r2_score(truth, values)) if len(truth) > 1 else float("nan"),
            "loss": loss,
        }
    several = problem_type == "multi_label_classification"
    predicted = (logits > 0).numpy() if several else logits.argmax(dim=1).numpy()
    found = label_points(truth, predicted, logits.shape[1])
    names = ("accuracy", "f1_micro", "f1_macro") if several else ("accuracy", "f1_macro", "f1_weighted")
    # Where no label is true or given there is no F1, but a checkpoint that is chosen by it needs a number.
    return {name: float(np.nan_to_num(found[name])) for name in names} | {"loss": loss}


@torch.inference_mode()
def predict_logits(
    model: Strideformer,
    documents: Documents,
    collate: Collate,
    options: TrainingOptions,
    rank: int = 0,
    world: int = 1,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[np.ndarray, np.ndarray]:
    """The logits of one process's share of the documents, all chunks read.

    Returns:
        (share,) int64 indices of documents and (share, num_labels) float32 logits.
    """
    was_training = model.training
    model.eval()
    if world > 1 and distributed.is_initialized():
        # What each process has learnt of the scale of vectors is of its own batches: the first one's is what is saved.
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
    mine = np.arange(len(documents.chunk_counts))[rank::world]
    encoded = None
    if isinstance(documents, TokenizedDocuments):
        encoded = EncodedDocuments.of(documents, model, options.precision)
    dataset = EpochDataset(encoded or documents)
    order = mine[np.argsort(documents.chunk_counts[mine], kind="stable")]  # alike in length, so hardly padded
    pace, done = Pace("scored", len(order), "validation documents", quiet=rank > 0), 0
    logits = []
    for batch in pack(order, documents.chunk_counts, documents.chunk_widths, options.budget, len(order)):
        if encoded is not None:
            encoded.hold(order[done:], len(batch))
        tensors = collate([dataset[0, document] for document in batch])
        tensors.pop("labels")
        with autocast():
            output = model(**{name: tensor.to(model.device) for name, tensor in tensors.items()})
        logits.append(output.logits.float().cpu().numpy())
        done += len(batch)
        pace.at(done)
    model.train(was_training)
    return order, np.concatenate(logits) if logits else np.empty((0, model.config.num_labels), np.float32)


@torch.inference_mode()
def spread_within_documents(
    model: Strideformer, documents: Documents, collate: Collate, at_most: int = 8
) -> float | None:
    """How far apart the logits of a document's chunks are: of a few short documents, the mean standard deviation.

    A second model that a too high learning rate has broken says the same of every chunk. A bag of tokens may hide that
    from the figures, but adds the same to all chunks of a document, so it changes nothing here.

    Returns:
        None for regressions, whose logits are in a unit of their own, and where no document has two chunks.
    """
    counts = documents.chunk_counts
    several = np.flatnonzero(counts > 1)
    if not len(several) or model.config.problem_type == "regression":
        return None
    was_training = model.training
    model.eval()
    dataset, spreads = EpochDataset(documents), []
    for document in several[np.argsort(counts[several], kind="stable")][:at_most].tolist():
        tensors = collate([dataset[0, document]])
        tensors.pop("labels")
        output = model(**{name: tensor.to(model.device) for name, tensor in tensors.items()})
        spreads.append(float(output.chunk_logits.float().std(dim=0).mean()))
    model.train(was_training)
    return float(np.mean(spreads))
