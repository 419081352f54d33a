"""TrainingOptions: how a Strideformer is trained, whichever loop trains it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from strideformer.devices import choose_device, cpu_multiplies_bf16
from strideformer.freed_memory import keep_freed_memory
from strideformer.model import Strideformer


@dataclass(frozen=True)
class TrainingOptions:
    """How a Strideformer is trained.

    Attributes:
        epochs: passes over the training documents.
        learning_rate: AdamW's peak for the second model, after a linear warm-up; a cosine to zero follows.
        first_model_learning_rate: the same for the first model, where it is trained. A pretrained encoder wants a rate
            of 2e-5 to 5e-5 (Devlin et al. 2019, appendix A.3), far below that of new weights.
        weight_decay: AdamW's, on matrices only.
        warm_up: share of the steps in which the rate rises.
        max_grad_norm: gradients are scaled down to this norm.
        budget: most chunks (of vectors) or padded tokens (of token ids) in one forward pass, on each device; a
            document that alone has more is a batch of its own.
        batch_size: most documents in one forward pass, on each device; None leaves it to the budget alone.
        gradient_accumulation_steps: forward passes to one step of the optimizer.
        train_max_chunks: in each epoch another random subset of so many chunks stands for a document that has more;
            None takes all. Validation always sees all.
        seed: of the order of documents, the choice of chunks and dropout.
        metric: of ``strideformer.training.selection``, that chooses the best checkpoint; None is the first of the
            problem type.
        early_stopping: evaluations without a better metric after which training ends; None never.
        checkpoint_steps: steps between evaluations, each with a checkpoint; None is once an epoch.
        precision: ``no``, ``bf16`` or ``fp16`` for forward and backward passes, or ``auto``, which the process that
            trains decides by its device (`choose_precision`); weights stay in float32.
        gradient_checkpointing: compute activations again in the backward pass in place of keeping them.
    """

    epochs: int = 30
    learning_rate: float = 5e-4
    first_model_learning_rate: float = 3e-5
    weight_decay: float = 0.01
    warm_up: float = 0.1
    max_grad_norm: float = 1.0
    budget: int = 2048
    batch_size: int | None = 16
    gradient_accumulation_steps: int = 1
    train_max_chunks: int | None = None
    seed: int = 0
    metric: str | None = None
    early_stopping: int | None = None
    checkpoint_steps: int | None = None
    precision: str = "no"
    gradient_checkpointing: bool = False


def fit_to_device(model: Strideformer, options: TrainingOptions, use_cpu: bool) -> TrainingOptions:
    """The options with a precision that this process's device has; the encoder gets attention that suits both.

    On a CPU the process also keeps the memory that it frees (`keep_freed_memory`).
    """
    device = torch.device("cpu") if use_cpu else choose_device("auto")
    if device.type == "cpu":
        keep_freed_memory()
    precision = choose_precision(options.precision, device, not model.config.freeze_first_model)
    choose_training_attention(model.first_model, device, precision)
    return replace(options, precision=precision)


def choose_precision(precision: str, device: torch.device, trains_first_model: bool) -> str:
    """``auto`` is bf16 where the first model is trained on a device that has it; the small second model needs none.

    A CPU that multiplies bf16 natively is such a device, with `choose_training_attention`.
    """
    if precision != "auto":
        return precision
    has_bf16 = (
        cpu_multiplies_bf16() if device.type == "cpu" else device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return "bf16" if trains_first_model and has_bf16 else "no"


def choose_training_attention(model: PreTrainedModel, device: torch.device, precision: str) -> None:
    """Have an encoder attend by two products and a softmax where it is trained in bf16 on a CPU.

    Fused attention gains little from bf16 there. MiniLM-L6 on 16 chunks of 256 tokens, forward and backward, on
    one core of a Zen 4: 5.3 s in fp32, 4.3 s in bf16, 2.7 s in bf16 by products.
    """
    if device.type == "cpu" and precision == "bf16" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("eager")
