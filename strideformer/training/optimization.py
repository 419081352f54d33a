"""AdamW with a rate for each of the two models, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from strideformer.model import Strideformer
from strideformer.pretrained_model import BAG_OF_TOKENS, FIRST_MODEL
from strideformer.training.options import TrainingOptions

# How much faster a bag of tokens learns than the second model. A document's row has length 1, a hundredth of it for a
# token, so its weights must come to far more than others: of 10 to 300 times, 30 to 100 did alike on four corpora.
RATE_OF_TOKENS = 50.0


def new_optimizer(model: Strideformer, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over what is trained; norms and biases are not decayed."""
    rates = {
        "": options.learning_rate,
        FIRST_MODEL: options.first_model_learning_rate,
        BAG_OF_TOKENS: RATE_OF_TOKENS * options.learning_rate,
    }
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = next((part for part in (FIRST_MODEL, BAG_OF_TOKENS) if name.startswith(part)), "")
            groups.setdefault((part, parameter.dim() > 1), []).append(parameter)
    # the second model's first, whose rate is what trackers show
    return torch.optim.AdamW(
        [
            {"params": groups[key], "lr": rates[key[0]], "weight_decay": options.weight_decay if key[1] else 0.0}
            for key in sorted(groups, key=lambda key: (key[0], not key[1]))
        ]
    )


def new_schedule(optimizer: torch.optim.Optimizer, steps: int, warm_up: float) -> LambdaLR:
    """A linear rise over a share of the steps, then a cosine to zero."""
    return LambdaLR(optimizer, _factor(steps, max(1, int(steps * warm_up))))


def _factor(steps: int, warm_up: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return factor
