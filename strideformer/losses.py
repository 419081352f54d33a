"""The loss of documents' logits, by the kind of their labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from strideformer.config import StrideformerConfig
from strideformer.errors import StrideformerError


def document_loss(logits: Tensor, labels: Tensor, config: StrideformerConfig) -> Tensor:
    """Mean squared error, cross entropy, binary cross entropy, or their focal forms, in float32.

    Args:
        logits: (documents, num_labels).
        labels: (documents,) whole numbers for one class each; (documents, num_labels) for several labels each;
            (documents,) or (documents, num_labels) for regression.
        config: ``problem_type`` None is told from the labels, by `problem_type_of`. ``loss``, ``focal_gamma``,
            ``class_weights`` and ``label_smoothing`` shape the loss of classes. Errors of a regression are counted in
            ``target_deviations``.

    Returns:
        Scalar, the mean over the documents; with class weights of single labels the weighted mean, as torch has it.

    Raises:
        StrideformerError: the labels are not as many as the logits.
    """
    problem_type = config.problem_type or problem_type_of(labels, logits.shape[1])
    expected = len(logits) if problem_type == "single_label_classification" else logits.numel()
    if labels.numel() != expected:
        raise StrideformerError(
            f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)} in "
            f"{problem_type}: give {'one' if expected == len(logits) else logits.shape[1]} a document"
        )
    logits = logits.float()
    weights = None if config.class_weights is None else logits.new_tensor(config.class_weights)
    if problem_type == "regression":
        differences = logits - labels.reshape(logits.shape).float()
        if config.target_deviations is not None:
            differences = differences / logits.new_tensor(config.target_deviations)
        return differences.square().mean()
    if problem_type == "single_label_classification":
        classes = labels.view(-1).long()
        if config.loss == "focal":
            return _focal_cross_entropy(logits, classes, config.focal_gamma, weights)
        return F.cross_entropy(logits, classes, weights, label_smoothing=config.label_smoothing)
    given = labels.reshape(logits.shape).float()
    if config.loss == "focal":
        return _focal_binary_cross_entropy(logits, given, config.focal_gamma, weights)
    smooth = given * (1 - config.label_smoothing) + config.label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights)


def problem_type_of(labels: Tensor, num_labels: int) -> str:
    """One label is a regression, whole numbers are classes, all else is several labels a document."""
    if num_labels == 1:
        return "regression"
    whole = labels.dtype in (torch.long, torch.int)
    return "single_label_classification" if whole else "multi_label_classification"


def _focal_cross_entropy(logits: Tensor, classes: Tensor, gamma: float, weights: Tensor | None) -> Tensor:
    """``-(1 - p)^gamma log p`` of Lin et al. 2017, equation 4, with p the probability of the right class."""
    log_p = F.log_softmax(logits, dim=-1).gather(1, classes.unsqueeze(1)).squeeze(1)
    losses = -(_wrong(log_p.exp()) ** gamma) * log_p
    if weights is None:
        return losses.mean()
    return (weights[classes] * losses).sum() / weights[classes].sum()


def _focal_binary_cross_entropy(logits: Tensor, given: Tensor, gamma: float, weights: Tensor | None) -> Tensor:
    """The same for each label by itself, a present label's loss times its weight, the mean over all."""
    losses = F.binary_cross_entropy_with_logits(logits, given, pos_weight=weights, reduction="none")
    right = torch.where(given > 0.5, logits.sigmoid(), (-logits).sigmoid())
    return (_wrong(right) ** gamma * losses).mean()


def _wrong(right: Tensor) -> Tensor:
    """``1 - p``, kept from 0, where a power below 1 has no finite gradient."""
    return (1 - right).clamp(min=1e-7)
