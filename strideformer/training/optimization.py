"""AdamW with a rate for each of the two models, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from strideformer.model import FIRST_MODEL, Strideformer
from strideformer.training.options import TrainingOptions


def new_optimizer(model: Strideformer, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over what is trained; norms and biases are not decayed."""
    groups = []
    for is_first, rate in ((False, options.learning_rate), (True, options.first_model_learning_rate)):
        trained = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith(FIRST_MODEL) == is_first
        ]
        for parameters, decay in (
            ([parameter for parameter in trained if parameter.dim() > 1], options.weight_decay),
            ([parameter for parameter in trained if parameter.dim() <= 1], 0.0),
        ):
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def new_schedule(optimizer: torch.optim.Optimizer, steps: int, warm_up: float) -> LambdaLR:
    """A linear rise over a share of the steps, then a cosine to zero."""
    return LambdaLR(optimizer, _factor(steps, max(1, int(steps * warm_up))))


def _factor(steps: int, warm_up: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return factor
