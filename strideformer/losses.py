"""The loss of documents' logits, by the kind of their labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def document_loss(logits: Tensor, labels: Tensor, problem_type: str | None = None) -> Tensor:
    """Mean squared error, cross entropy or binary cross entropy.

    Args:
        logits: (documents, num_labels).
        labels: (documents,) whole numbers for one class each; (documents, num_labels) for several labels each;
            (documents,) or (documents, num_labels) for regression.
        problem_type: as in the config; None is told from the labels, for this call alone: one label is regression,
            whole numbers are classes, all else is several labels.

    Returns:
        Scalar, the mean over the documents.
    """
    if problem_type is None:
        whole = labels.dtype in (torch.long, torch.int)
        problem_type = "single_label_classification" if whole else "multi_label_classification"
        problem_type = "regression" if logits.shape[1] == 1 else problem_type
    if problem_type == "regression":
        return F.mse_loss(logits, labels.reshape(logits.shape).to(logits.dtype))
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels.view(-1).long())
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
