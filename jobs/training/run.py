"""One run of training, whichever loop does it: data, model, training, checkpoint, record."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from jobs.sharded_job import RESUME
from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData, load_data
from jobs.training.folder import TrainingFolder
from jobs.training.full_disk import full_disk_told
from jobs.training.model_card import OF_THIS_MACHINE, model_card
from jobs.training.preparation import Preparation
from jobs.training.setup import new_config, new_model, new_options
from jobs.training.starting_point import StartingPoint
from jobs.training.verdict import compare_with_tfidf
from strideformer import Strideformer
from strideformer.checkpoint import weights_hash
from strideformer.devices import choose_device
from strideformer.errors import StrideformerError
from strideformer.training.selection import choose_metric, spread_within_documents

# Settings that change nothing of the result, so that a run may be resumed with others.
IRRELEVANT = {
    *("output", "embeddings", "resume", "report_to", "compare_baselines", "storage_option", "dataset_path"),
    *("include_first_model", "start_from"),
}

# Below this standard deviation the logits of a document's chunks are as good as the same. On oral arguments it is 0.29
# after training and 0.24 before.
LEAST_SPREAD = 0.01

# The other processes wait for the first, which may embed a large corpus for hours: by default they would give up after
# half an hour, and after ten minutes on GPUs.
LONGEST_WAIT = timedelta(days=7)

SAME_OF_EVERY_CHUNK = (
    "WARNING: the second model says the same of every chunk (logits of one document differ by {:.4f}), so what is "
    "right is not its doing: train again with a lower --learning-rate or more --epochs"
)

# Takes what strideformer.training.trainer.train takes, and gives what that gives.
Train = Callable[..., Any]


def run(settings: TrainSettings, train: Train, remedy: str = RESUME) -> dict[str, float]:
    """Train and save a Strideformer.

    Started by ``accelerate launch`` or ``torchrun``, this runs in every process: the first reads, embeds and writes,
    the others wait for its files.

    Args:
        settings: of the run.
        train: the loop.
        remedy: what to do about a run that failed for want of something that may come back, such as space on a disk.

    Returns:
        The figures of the best checkpoint on validation.

    Raises:
        StrideformerError: the settings or the data are wrong, or training diverged.
        JobFailedError: the disk is full.
    """
    disable_progress_bar()
    set_verbosity_error()  # it has a word on the file system's clock at every checkpoint
    require_tracker(settings.report_to)
    with full_disk_told(settings.output, remedy), TrainingFolder(settings.output) as folder:
        return _run(settings, folder, train)


def _run(settings: TrainSettings, folder: TrainingFolder, train: Train) -> dict[str, float]:
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first:
        folder.refuse(settings.resume)
    if settings.resume and folder.is_finished:
        print(f"the run in {settings.output} is finished")
        return {}
    if is_first:
        folder.hold()
    start = StartingPoint.of(settings)
    data = load_data(settings, settings.seed, None if start is None else start.encoding)
    config = new_config(settings, data) if start is None else start.new_config(settings, data)
    choose_metric(settings.metric, data.encoding.problem_type)
    model = new_model(config, settings.seed) if start is None else start.new_model(config, settings.seed)
    options = new_options(settings, len(data.training))
    # Processes of a cluster go by their own devices. Told to look for itself, the Trainer takes processes of torchrun
    # on a machine without GPUs for so many runs.
    use_cpu = not settings.workers and choose_device(settings.device).type == "cpu"
    preparation = Preparation(settings, model, data.encoding, data.encoder, start)
    if is_first:
        print("\n".join(data.lines), flush=True)
        values = settings.model_dump(exclude=IRRELEVANT)
        # Files in the encoder's folder may be others by now, and vectors of two encoders must not be mixed.
        decides = {"settings": values, "data": data.fingerprint, "encoder": preparation.identity().to_dict()}
        if start is not None:
            decides["start"] = weights_hash(model.state_dict())
        folder.begin(settings.resume, decides)
        training, validation = _documents(preparation, data, folder)
        cut = cut_documents(training.chunk_counts, validation.chunk_counts, config.max_chunks)
        print(cut, flush=True)
    _wait_for_everyone(use_cpu)
    if not is_first:
        training, validation = _documents(preparation, data, folder)
    if model.bag_of_tokens is not None and not model.bag_of_tokens.is_fitted:
        model.bag_of_tokens.fit(training.bags)
    result = train(
        model,
        training,
        validation,
        preparation.collate,
        options,
        folder.work,
        resume=settings.resume,
        report_to=() if settings.report_to == "none" else (settings.report_to,),
        use_cpu=use_cpu,
        report=lambda row: print(progress_line(row), flush=True),
    )
    if not torch.isfinite(result.logits).all():
        raise StrideformerError(
            f"training diverged, and there is no model to write: what the best checkpoint says of validation is NaN or "
            f"infinite; train again, to another output, with a lower --learning-rate than {settings.learning_rate:g}"
        )
    if is_first:
        spread = spread_within_documents(model, validation, preparation.collate)
        if spread is not None and spread < LEAST_SPREAD:
            print(SAME_OF_EVERY_CHUNK.format(spread), flush=True)
        _save(settings, data, model, preparation, folder, result, cut)
    figures: dict[str, float] = result.figures
    return figures


def _documents(preparation: Preparation, data: TrainingData, folder: TrainingFolder) -> tuple[Any, Any]:
    return (
        preparation.documents(data.training, folder.work / "vectors-training", "training"),
        preparation.documents(data.validation, folder.work / "vectors-validation", "validation"),
    )


def cut_documents(training: np.ndarray, validation: np.ndarray, max_chunks: int) -> str:
    """How many documents the model does not see whole, of their numbers of chunks, for a person."""
    full = [int((counts == max_chunks).sum()) for counts in (training, validation)]
    mean = (training.sum() + validation.sum()) / (len(training) + len(validation))
    if not any(full):
        return f"every document is read whole, with {mean:.1f} chunks on average"
    return (
        f"{full[0]:,} of {len(training):,} training and {full[1]:,} of {len(validation):,} validation documents fill "
        f"all {max_chunks} chunks: what they have beyond is not read (--max-chunks)"
    )


def progress_line(row: dict[str, float]) -> str:
    """One evaluation, for a person."""
    figures = ", ".join(f"{name.removeprefix('eval_')} {row[name]:.4f}" for name in row if name.startswith("eval_"))
    loss = f"training loss {row['train_loss']:.4f}, " if "train_loss" in row else ""
    return f"epoch {row['epoch']:.4g}, step {row['step']:.0f}: {loss}validation {figures}"


def _save(
    settings: TrainSettings,
    data: TrainingData,
    model: Strideformer,
    preparation: Preparation,
    folder: TrainingFolder,
    result: Any,
    cut: str,
) -> None:
    own = preparation.start is not None and preparation.start.has_encoder
    whole = settings.include_first_model or not settings.freeze_first_model or own
    model.save_pretrained(folder.output, include_first_model=whole)
    preparation.tokenizer.save_pretrained(folder.output)
    verdict = compare_with_tfidf(settings, data, result.figures, result.logits)
    card = model_card(settings, model.config, data, result.figures, result.logits, verdict, cut)
    (folder.output / "README.md").write_text(card, encoding="utf-8")
    # Without paths, which say nothing elsewhere and something of whoever trained it.
    decided = {"epochs": settings.passes(len(data.training)), "batch_size": settings.most_documents()}
    used = settings.model_dump(exclude=OF_THIS_MACHINE) | decided
    folder.finish(
        {
            "settings": used,
            "documents": len(data.training),
            "validation_documents": len(data.validation),
            "validation": result.figures,
            "baselines": verdict.baselines,
            "history": result.history,
        }
    )
    line = ", ".join(f"{name} {value:.4f}" for name, value in result.figures.items())
    print(f"validation: {line}; the checkpoint is in {folder.output}", flush=True)
    print(verdict.sentence, flush=True)


def require_tracker(name: str) -> None:
    """Refuse to start without the tracker's package.

    Raises:
        StrideformerError: it is not installed.
    """
    if name != "none" and find_spec(name) is None:
        raise StrideformerError(f"--report-to {name} needs it installed: pip install 'strideformer[tracking]'")


def _wait_for_everyone(use_cpu: bool) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState(cpu=use_cpu, timeout=LONGEST_WAIT).wait_for_everyone()
