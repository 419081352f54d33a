"""The train job as a plain Accelerate loop, to be edited: ``python -m jobs.train_loop`` takes what ``train`` takes.

Data, model, batches, optimizer, schedule, figures and the checkpoint are those of ``strideformer train``; with the same
settings and seed both take the same steps. What this loop leaves out: checkpoints while it runs, and so ``--resume``;
trackers; processes of Ray; baselines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object, set_seed

from jobs.cli import run_command
from jobs.train_settings import TrainSettings
from jobs.training import run as training_run
from strideformer import Strideformer
from strideformer.errors import StrideformerError
from strideformer.training.batches import Collate, training_batches
from strideformer.training.documents import Documents
from strideformer.training.optimization import new_optimizer, new_schedule
from strideformer.training.options import TrainingOptions, fit_to_device
from strideformer.training.pace import Pace
from strideformer.training.selection import LOWER_IS_BETTER, choose_metric, measure, predict_logits
from strideformer.training.trainer import TrainingResult

ANEW = "then train again, to another output"
LEFT_OUT = ("workers", "baseline", "resume", "report_to", "checkpoint_steps")


def train(
    model: Strideformer,
    training: Documents,
    validation: Documents,
    collate: Collate,
    options: TrainingOptions,
    folder: Path,
    *,
    resume: bool = False,
    report_to: Sequence[str] = (),
    use_cpu: bool = False,
    callbacks: Sequence[Any] = (),
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> TrainingResult:
    """Train in place, keeping the epoch that does best on validation; as ``strideformer.training.trainer.train``."""
    if resume or report_to or callbacks or options.checkpoint_steps is not None:
        raise StrideformerError(
            "the plain loop writes no checkpoints and reports to no tracker: leave out --resume, --report-to and "
            "--checkpoint-steps, or use `strideformer train`"
        )
    options = fit_to_device(model, options, use_cpu)
    accumulation = options.gradient_accumulation_steps
    # Of an encoder that is trained some weights may have no part in the result, such as layers above chunk_layers.
    several = DistributedDataParallelKwargs(find_unused_parameters=not model.config.freeze_first_model)
    accelerator = Accelerator(
        mixed_precision=options.precision,
        gradient_accumulation_steps=accumulation,
        cpu=use_cpu,
        kwargs_handlers=[several],
    )
    rank, world = accelerator.process_index, accelerator.num_processes
    metric = choose_metric(options.metric, model.config.problem_type)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})

    # One process's share of the batches, so there is nothing for Accelerate to divide.
    batches = training_batches(training, collate, options, rank, world)
    optimizer = new_optimizer(model, options)
    steps = options.epochs * len(batches) // accumulation
    schedule = new_schedule(optimizer, steps, options.warm_up)
    wrapped, optimizer = accelerator.prepare(model, optimizer)

    set_seed(options.seed)
    history: list[dict[str, float]] = []
    best, best_weights, worse, step = -np.inf, dict[str, torch.Tensor](), 0, 0
    pace = Pace("took", steps, "steps", quiet=not accelerator.is_main_process)
    for epoch in range(options.epochs):
        batches.set_epoch(epoch)
        wrapped.train()
        total = torch.zeros((), device=accelerator.device)
        for batch in batches:
            with accelerator.accumulate(wrapped):
                loss = wrapped(**{name: tensor.to(accelerator.device) for name, tensor in batch.items()}).loss
                accelerator.backward(loss)
                total += loss.detach()
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), options.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                if accelerator.sync_gradients:
                    schedule.step()
                    step += 1
                    pace.at(step)
        mean = float(accelerator.gather(total).mean()) / len(batches)

        share = predict_logits(model, validation, collate, options, rank, world, accelerator.autocast)
        logits = together([share] if world == 1 else gather_object([share]), len(validation.chunk_counts))
        figures = measure(logits, validation.labels, model.config.problem_type)
        row = {"epoch": epoch + 1.0, "step": float(step), "train_loss": mean}
        history.append(row | {f"eval_{name}": value for name, value in figures.items()})
        if accelerator.is_main_process:
            report(history[-1])

        value = sign * figures[metric]
        # What is no number, such as R² of one document, is no better than anything, and some epoch must be kept.
        if value > best or not best_weights:
            best, worse = max(best, value), 0
            best_figures, best_logits = figures, logits
            best_weights = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
        else:
            worse += 1
        if options.early_stopping is not None and worse >= options.early_stopping:
            break
    model.load_state_dict(best_weights)
    model.eval()
    return TrainingResult(best_figures, history, best_logits)


def together(shares: Sequence[tuple[np.ndarray, np.ndarray]], documents: int) -> torch.Tensor:
    """(documents, num_labels) float32 logits from every process's share."""
    logits = np.empty((documents, shares[0][1].shape[1]), np.float32)
    for index, rows in shares:
        logits[index] = rows
    return torch.from_numpy(logits)


def run(settings: TrainSettings) -> dict[str, float]:
    """Train what the settings say. Returns the figures on validation.

    Raises:
        StrideformerError: the settings ask for what this loop leaves out.
    """
    if given := settings.others_than_default(LEFT_OUT):
        raise StrideformerError(f"the plain loop does not know {given[0]}: leave it out, or use `strideformer train`")
    return training_run.run(settings, train, ANEW)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.train_loop``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("train_loop", TrainSettings, run, given, resumes=False)


if __name__ == "__main__":
    sys.exit(main())
