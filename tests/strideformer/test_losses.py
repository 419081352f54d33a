from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from strideformer import StrideformerConfig, StrideformerError
from strideformer.losses import document_loss
from tests.strideformer.small_models import close
from tests.strideformer.test_config import tiny_bert

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [1.0, 1.0, -4.0], [-1.0, 0.0, 2.0]])
CLASSES = torch.tensor([0, 1, 2, 1])
SEVERAL = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
WEIGHTS = [1.0, 0.25, 4.0]


def loss(labels: torch.Tensor, logits: torch.Tensor = LOGITS, **fields: Any) -> torch.Tensor:
    config = StrideformerConfig(tiny_bert(), **({"num_attention_heads": 4, "num_labels": logits.shape[1]} | fields))
    return document_loss(logits, labels, config)


def test_class_weights_and_label_smoothing_are_torchs() -> None:
    weights = torch.tensor(WEIGHTS)
    close(loss(CLASSES, class_weights=WEIGHTS), F.cross_entropy(LOGITS, CLASSES, weights))
    close(loss(CLASSES, label_smoothing=0.2), F.cross_entropy(LOGITS, CLASSES, label_smoothing=0.2))
    expected = F.binary_cross_entropy_with_logits(LOGITS, SEVERAL, pos_weight=weights)
    close(loss(SEVERAL, class_weights=WEIGHTS), expected)
    close(loss(SEVERAL, label_smoothing=0.2), F.binary_cross_entropy_with_logits(LOGITS, 0.8 * SEVERAL + 0.1))


def test_focal_loss_of_classes_is_the_papers() -> None:
    expected = []
    for row, label in zip(LOGITS, CLASSES.tolist(), strict=True):
        p = row.softmax(dim=0)[label]
        expected.append(-((1 - p) ** 1.5) * p.log())
    close(loss(CLASSES, loss="focal", focal_gamma=1.5), torch.stack(expected).mean())
    weights = torch.tensor([WEIGHTS[label] for label in CLASSES.tolist()])
    weighted = (weights * torch.stack(expected)).sum() / weights.sum()
    close(loss(CLASSES, loss="focal", focal_gamma=1.5, class_weights=WEIGHTS), weighted)


def test_focal_loss_of_several_labels_is_the_papers() -> None:
    p = torch.where(SEVERAL > 0.5, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    close(loss(SEVERAL, loss="focal"), (-((1 - p) ** 2) * p.log()).mean())


@pytest.mark.parametrize("labels", [CLASSES, SEVERAL])
def test_focal_loss_without_gamma_is_the_plain_one(labels: torch.Tensor) -> None:
    close(loss(labels, loss="focal", focal_gamma=0.0), loss(labels))
    close(loss(labels, loss="focal", focal_gamma=0.0, class_weights=WEIGHTS), loss(labels, class_weights=WEIGHTS))


@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.tensor([[1.0, 0, 0]])])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_finite_gradients(labels: torch.Tensor, gamma: float) -> None:
    logits = torch.tensor([[300.0, -300, -300]], requires_grad=True)
    loss(labels, logits, loss="focal", focal_gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_regression_of_one_number_and_of_several() -> None:
    numbers = torch.tensor([0.5, -1, 2, 0])
    close(loss(numbers, LOGITS[:, :1]), F.mse_loss(LOGITS[:, 0], numbers))
    close(loss(numbers.unsqueeze(1), LOGITS[:, :1]), F.mse_loss(LOGITS[:, 0], numbers))
    close(loss(SEVERAL, problem_type="regression"), F.mse_loss(LOGITS, SEVERAL))
    close(loss(CLASSES, LOGITS[:, :1]), F.mse_loss(LOGITS[:, 0], CLASSES.float()))


def test_loss_of_half_precision_logits_is_float32() -> None:
    value = loss(CLASSES, LOGITS.bfloat16())
    assert value.dtype == torch.float32
    close(value, F.cross_entropy(LOGITS, CLASSES), 0.02)


@pytest.mark.parametrize(
    ("labels", "fields", "sentence"),
    [
        (CLASSES[:3], {}, r"labels of shape \(3,\) do not fit logits of shape \(4, 3\) in single_label_class.*one a"),
        (SEVERAL[:, :2], {}, r"labels of shape \(4, 2\) do not fit logits of shape \(4, 3\) in multi.*: give 3 a doc"),
        (torch.zeros(4), {"problem_type": "regression"}, r"labels of shape \(4,\) do not fit .* in regression: give 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StrideformerError, match=sentence):
        loss(labels, **fields)


def test_regression_is_measured_in_deviations() -> None:
    truth = LOGITS + torch.tensor([10.0, 0.5, -1.0])
    unit = {"target_means": [2000.0, 1.0, 0.0], "target_deviations": [5.0, 0.25, 1.0]}
    close(loss(truth, problem_type="regression"), F.mse_loss(LOGITS, truth))
    close(loss(truth, problem_type="regression", **unit), torch.tensor((4.0 + 4.0 + 1.0) / 3))
