"""The baseline that reads a document's first tokens alone: any sequence classifier of transformers, fine-tuned."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from jobs.train_settings import BATCH_SIZE, EPOCHS_UNFROZEN, TrainSettings
from jobs.training.data import TrainingData
from jobs.training.labelled import LabelledDocuments
from jobs.training.labels import REGRESSION, LabelEncoding
from jobs.training.setup import set_dropout, standard_form
from strideformer.checkpoint import resolve_encoder, share_weights
from strideformer.config import max_positions
from strideformer.devices import choose_device
from strideformer.document_head import in_own_unit
from strideformer.encoder import load_tokenizer
from strideformer.errors import StrideformerError
from strideformer.freed_memory import keep_freed_memory
from strideformer.training.options import choose_precision, choose_training_attention
from strideformer.training.selection import LOWER_IS_BETTER, METRICS, choose_metric, measure

# BigBird's sparse attention gathers into float32 whatever it computes in, and fails in mixed precision.
FLOAT32_ALONE = {"big_bird"}
# What an encoder of relative positions reads, where --max-length does not say: it has no limit of its own.
UNLIMITED = 512
METRIC_NAMES = {name for names in METRICS.values() for name in names}


def own_length(settings: TrainSettings) -> int:
    """How many tokens the baseline reads: ``--max-length``, or else all that the model has positions for.

    Raises:
        StrideformerError: the model has fewer positions than ``--max-length``.
    """
    config = AutoConfig.from_pretrained(resolve_encoder(str(settings.encoder)), trust_remote_code=False)
    most = max_positions(config)
    length = settings.max_length or most or UNLIMITED
    if most is not None and length > most:
        raise StrideformerError(
            f"max_length={length} is more than the {most} positions of the encoder: use at most {most}"
        )
    return length


def predict_from_first_tokens(settings: TrainSettings, data: TrainingData, output: Path) -> np.ndarray:
    """Fine-tune ``--encoder`` on its first tokens, save it to ``output``, and score the validation documents.

    Returns:
        (validation documents, num_labels) float32 logits.

    Raises:
        StrideformerError: as ``own_length``.
    """
    encoding = data.encoding
    folder = resolve_encoder(str(settings.encoder))
    length = own_length(settings)
    print(f"{settings.encoder} reads the first {length:,} tokens of a document, special ones included", flush=True)
    tokenizer = load_tokenizer(folder)
    set_seed(settings.seed)
    config = AutoConfig.from_pretrained(
        folder,
        num_labels=len(encoding.names),
        id2label=dict(enumerate(encoding.names)),
        label2id={name: index for index, name in enumerate(encoding.names)},
        problem_type=encoding.problem_type,
        trust_remote_code=False,
    )
    set_dropout(config, settings.first_model_dropout)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, trust_remote_code=False, dtype=torch.float32
    )
    if settings.gradient_checkpointing and model.supports_gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    metric = choose_metric(settings.metric, encoding.problem_type)
    device = choose_device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()

    unit: dict[str, list[float]] = {}
    if encoding.problem_type == REGRESSION:
        unit = standard_form(encoding.encode(data.training.labels))
        model.config.update(unit)  # what the saved classifier gives is in standard form

    def figures(prediction: Any) -> dict[str, float]:
        logits, labels = torch.from_numpy(prediction.predictions).float(), torch.from_numpy(prediction.label_ids)
        if unit:
            labels = in_own_unit(labels.reshape(logits.shape), **unit)
        return measure(in_own_unit(logits, **unit), labels, encoding.problem_type)

    stop = settings.early_stopping
    precision = choose_precision(settings.precision, device, model.config.model_type not in FLOAT32_ALONE)
    choose_training_attention(model, device, precision)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as work:
        arguments = TrainingArguments(
            output_dir=work,
            num_train_epochs=settings.epochs or EPOCHS_UNFROZEN,
            learning_rate=settings.first_model_learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=0.1,
            lr_scheduler_type="cosine",
            per_device_train_batch_size=settings.batch_size or BATCH_SIZE,
            per_device_eval_batch_size=settings.batch_size or BATCH_SIZE,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            eval_strategy="epoch",
            save_strategy="epoch",
            logging_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model=f"eval_{metric}",
            greater_is_better=metric not in LOWER_IS_BETTER,
            seed=settings.seed,
            report_to="none",
            disable_tqdm=True,
            use_cpu=device.type == "cpu",
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=_FirstTokens(data.training, tokenizer, length, encoding, unit),
            eval_dataset=_FirstTokens(data.validation, tokenizer, length, encoding, unit),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=figures,
            callbacks=[] if stop is None else [EarlyStoppingCallback(stop)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Progress())
        trainer.train()
        logits = trainer.predict(trainer.eval_dataset).predictions
    model.save_pretrained(output)
    share_weights(Path(output))
    tokenizer.save_pretrained(output)
    return in_own_unit(torch.from_numpy(logits).float(), **unit).numpy()


class _Progress(TrainerCallback):
    """A line an epoch, on one process."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if state.is_world_process_zero:
            names = [name for name in metrics if name.removeprefix("eval_") in METRIC_NAMES]
            figures = ", ".join(f"{name.removeprefix('eval_')} {metrics[name]:.4f}" for name in names)
            print(f"epoch {state.epoch:.4g}, step {state.global_step}: validation {figures}", flush=True)


class _FirstTokens(Dataset[dict[str, Any]]):
    """Documents as one sequence each, tokenised when asked for and cut at the length; of a pair the second is cut."""

    def __init__(
        self,
        documents: LabelledDocuments,
        tokenizer: Any,
        length: int,
        encoding: LabelEncoding,
        unit: Mapping[str, list[float]],
    ) -> None:
        self.texts, self.pairs = documents.texts()
        self.labels = encoding.encode(documents.labels)
        if encoding.problem_type == REGRESSION:
            means, deviations = (self.labels.new_tensor(unit[name]) for name in ("target_means", "target_deviations"))
            self.labels = (self.labels - means) / deviations
            if self.labels.shape[1] == 1:
                self.labels = self.labels[:, 0]
        self.tokenizer = tokenizer
        self.length = length

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.pairs is None:
            cells = self.tokenizer(self.texts[index], truncation=True, max_length=self.length)
        else:
            first, second = self.texts[index], self.pairs[index]
            cells = self.tokenizer(first, second, truncation="only_second", max_length=self.length)
        label = self.labels[index]
        return dict(cells) | {"labels": label.item() if label.dim() == 0 else label.tolist()}
