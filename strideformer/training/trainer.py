"""Training on the Hugging Face Trainer: several GPUs, mixed precision, checkpoints to resume from, trackers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors.torch import save_file
from torch import Tensor
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerControl, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback

from strideformer.model import Strideformer
from strideformer.pretrained_model import FIRST_MODEL
from strideformer.training.batches import Collate, EpochLoader, training_batches
from strideformer.training.documents import Documents
from strideformer.training.optimization import new_optimizer, new_schedule
from strideformer.training.options import TrainingOptions, fit_to_device
from strideformer.training.pace import Pace
from strideformer.training.selection import LOWER_IS_BETTER, choose_metric, measure, predict_logits

# The Trainer writes it last, so a checkpoint folder without it was not finished.
STATE_FILE = "trainer_state.json"

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainingResult:
    """What training gives, beside the model, which then has the best checkpoint's weights.

    Attributes:
        figures: on validation, of the best checkpoint.
        logits: (validation documents, num_labels) float32, of the best checkpoint.
        history: for each evaluation the epoch, the step, the mean training loss since the one before, and figures.
    """

    figures: dict[str, float]
    history: list[dict[str, float]]
    logits: Tensor = field(compare=False)


class StrideformerTrainer(Trainer):
    """The Trainer with our batches, our evaluation, and checkpoints without the weights of a frozen first model."""

    def __init__(
        self,
        model: Strideformer,
        training: Documents,
        validation: Documents,
        collate: Collate,
        options: TrainingOptions,
        args: TrainingArguments,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.options = options
        self.validation = validation
        self.batches: EpochLoader = training_batches(training, collate, options, args.process_index, args.world_size)
        optimizer = new_optimizer(model, options)
        steps = options.epochs * len(self.batches) // options.gradient_accumulation_steps
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=self.batches.dataset,
            eval_dataset=self.batches.dataset,  # never read: `evaluate` is ours
            optimizers=(optimizer, new_schedule(optimizer, steps, options.warm_up)),
            callbacks=list(callbacks),
        )

    def get_train_dataloader(self) -> EpochLoader:
        """Already one process's share, so Accelerate has nothing to divide."""
        return self.batches

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Figures on validation, each process predicting a share of the documents."""
        logits = self.validation_logits()
        figures = measure(logits, self.validation.labels, self.model.config.problem_type)
        metrics = {f"eval_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def validation_logits(self) -> Tensor:
        """(documents, num_labels) float32, on every process."""
        rank, world = self.args.process_index, self.args.world_size
        share = predict_logits(
            self.model,
            self.validation,
            self.data_collator,
            self.options,
            rank,
            world,
            self.compute_loss_context_manager,
        )
        shares = gather_object([share]) if world > 1 else [share]
        logits = np.empty((len(self.validation.chunk_counts), self.model.config.num_labels), np.float32)
        for documents, rows in shares:
            logits[documents] = rows
        return torch.from_numpy(logits)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """0: the Trainer's formula is for one model over one sequence."""
        return 0

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.model.state_dict() if state_dict is None else state_dict
        frozen = self.model.config.freeze_first_model
        kept = {name: w.contiguous() for name, w in weights.items() if not (frozen and name.startswith(FIRST_MODEL))}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for that of every process, so that a checkpoint with a state file, which is next, has them all."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """None: a frozen first model is left out on purpose."""


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
    callbacks: Sequence[TrainerCallback] = (),
    report: Report = lambda row: None,
) -> TrainingResult:
    """Train in place, keeping the checkpoint that does best on validation.

    Args:
        model: its first model is trained if its config says so, and then ``training`` holds token ids.
        folder: for the checkpoints of this run, which nobody else writes to.
        resume: go on from the last whole checkpoint in it, if there is one; the result is that of a run that was
            never stopped.
        report_to: the Trainer's trackers: ``mlflow``, ``wandb``, or ``tensorboard``, whose files are in ``logs`` beside
            the folder.
        callbacks: the Trainer's, for more than this.
        report: called with each row of the history.
    """
    options = fit_to_device(model, options, use_cpu)
    metric = choose_metric(options.metric, model.config.problem_type)
    when = "epoch" if options.checkpoint_steps is None else "steps"
    args = TrainingArguments(
        output_dir=str(folder),
        run_name=folder.absolute().parent.name,
        num_train_epochs=options.epochs,
        # The optimizer, schedule and batches are ours: these are what trackers record of them.
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        warmup_steps=options.warm_up,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=options.batch_size or len(training.chunk_counts),
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        max_grad_norm=options.max_grad_norm,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        eval_strategy=when,
        save_strategy=when,
        logging_strategy=when,
        eval_steps=options.checkpoint_steps,
        save_steps=options.checkpoint_steps or 500,
        logging_steps=options.checkpoint_steps or 500,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{metric}",
        greater_is_better=metric not in LOWER_IS_BETTER,
        seed=options.seed,
        report_to=[name for name in report_to if name != "tensorboard"] or "none",
        remove_unused_columns=False,
        # Of an encoder that is trained some weights may have no part in the result, such as layers above chunk_layers.
        ddp_find_unused_parameters=not model.config.freeze_first_model,
        disable_tqdm=True,
        use_cpu=use_cpu,
    )
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if args.n_gpu > 1:  # DataParallel would cut ragged batches; `accelerate launch` starts a process a GPU
        args._n_gpu = 1
    last = last_checkpoint(folder) if resume else None
    every: list[TrainerCallback] = []
    if options.early_stopping is not None:
        stopping = _EarlyStopping(options.early_stopping)
        # The Trainer's own way to restore callbacks restores what they were made with, too, over another patience.
        stopping.early_stopping_patience_counter = 0 if last is None else _evaluations_without_a_better_one(last)
        if stopping.early_stopping_patience_counter >= options.early_stopping:
            args.num_train_epochs = 0  # it had stopped, and the Trainer looks at that only after a step
        every.append(stopping)
    every.append(_Reporter(report))
    if "tensorboard" in report_to:
        curves = TensorBoardCallback()
        curves.logging_dir = str(folder.absolute().parent / "logs")
        every.append(curves)
    trainer = StrideformerTrainer(model, training, validation, collate, options, args, [*every, *callbacks])
    trainer.remove_callback(PrinterCallback)
    set_seed(options.seed)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    logits = trainer.validation_logits()
    figures = measure(logits, validation.labels, model.config.problem_type)
    model.eval()
    return TrainingResult(figures, _history(trainer.state.log_history), logits)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint. Those whose writing was cut off are removed."""
    whole: list[tuple[int, Path]] = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            step = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))["global_step"]
        except (OSError, ValueError, KeyError):
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole.append((int(step), checkpoint))
    return max(whole)[1] if whole else None


def _evaluations_without_a_better_one(checkpoint: Path) -> int:
    """How many there were up to a checkpoint, one after another; 0 if it was not written with early stopping."""
    state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    stopping = state.get("stateful_callbacks", {}).get(_EarlyStopping.__name__, {})
    return int(stopping.get("attributes", {}).get("early_stopping_patience_counter", 0))


class _EarlyStopping(EarlyStoppingCallback):
    """The Trainer's, which fails at its first checkpoint if it goes on from one that was written without it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        state.stateful_callbacks.setdefault(type(self).__name__, {})


class _Reporter(TrainerCallback):
    """Tells of each evaluation, and in between how far training is, on one process."""

    pace: Pace

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.pace = Pace("took", state.max_steps, "steps", state.global_step, quiet=not state.is_world_process_zero)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.pace.at(state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and (rows := _history(state.log_history)):
            self.report(rows[-1])


def _history(log: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The Trainer logs loss and figures of a step apart; here they are one."""
    by_step: dict[int, dict[str, float]] = {}
    for entry in log:
        if "loss" in entry or "eval_loss" in entry:
            row = by_step.setdefault(int(entry["step"]), {"epoch": entry["epoch"], "step": entry["step"]})
            row |= {"train_loss" if name == "loss" else name: entry[name] for name in entry if name not in row}
    return list(by_step.values())
