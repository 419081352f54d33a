"""Fitting a temperature and thresholds on evaluated documents, and storing them in the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
from transformers import AutoConfig

from jobs.corpus.storage import write_atomically
from jobs.model_source import ModelSource
from jobs.output.predictions import Predictions
from strideformer import StrideformerConfig
from strideformer.calibration import best_thresholds, document_losses, fit_temperature, with_temperature
from strideformer.checkpoint import checkpoint_folders
from strideformer.encoder import load_tokenizer
from strideformer.errors import StrideformerError
from strideformer.label_figures import label_points
from strideformer.metrics import calibration_error
from strideformer.predictions import MULTI_LABEL_THRESHOLD, LabelSpace
from strideformer.scored_documents import ScoredDocuments


@dataclass(frozen=True)
class Calibration:
    """What was fitted, and what it changes on the documents that it was fitted on.

    Attributes:
        temperature: as stored: what was fitted, times what the scores were made with.
        thresholds: of a multi-label model, in the order of its labels; None for others.
        before, after: log_loss and expected_calibration_error, and f1_macro of a multi-label model.
    """

    model: str
    temperature: float
    thresholds: list[float] | None
    before: dict[str, float]
    after: dict[str, float]


def check_calibratable(model: str) -> Path:
    """The folder of a checkpoint whose config may be written.

    Raises:
        StrideformerError: it is a package or a hub model, which are not ours to change, no Strideformer, or a
            regression.
    """
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise StrideformerError(
            f"--calibrate writes into the checkpoint, but {model} is no folder with a config.json: copy it to one"
        )
    checkpoint_folders(model)
    if LabelSpace.of(StrideformerConfig.from_pretrained(folder)).problem_type == "regression":
        raise StrideformerError(f"{model} is a regression, whose values are no probabilities: leave out --calibrate")
    return folder


def require_made_by(predictions: Predictions, model: str) -> None:
    """Refuse predictions that this checkpoint, as it now is, did not make: their temperature would be another.

    Raises:
        StrideformerError: they were made by another model, or by this one before it was changed.
    """
    folders = checkpoint_folders(model)
    config = AutoConfig.from_pretrained(folders["checkpoint"], trust_remote_code=False)
    tokenizer = load_tokenizer(folders["checkpoint"], config.first_model_name)
    of_texts = ModelSource.of(folders, tokenizer.backend_tokenizer.to_str())
    of_store = ModelSource.of_aggregator(folders["checkpoint"])
    if predictions.model not in (of_texts.fingerprint, of_store.fingerprint):
        raise StrideformerError(
            f"{predictions.url} was not made by {model} as it now is: classify the validation documents with it first"
        )


def calibrate(folder: Path, documents: ScoredDocuments) -> Calibration:
    """Fit on documents that the checkpoint was not trained on, and store the result in its config.json.

    The file is replaced in one step. The checkpoint's fingerprint changes with it, so that a job that was begun
    without the calibration cannot be resumed with it.

    Args:
        folder: of the checkpoint, as `check_calibratable` gives it.
        documents: scored by this checkpoint, with the temperature that its config now has.

    Raises:
        StrideformerError: the labels are not the checkpoint's, or no temperature fits.
    """
    file = folder / "config.json"
    before = StrideformerConfig.from_pretrained(folder)
    space = LabelSpace.of(before)
    if space.names != tuple(documents.names) or space.problem_type != documents.problem_type:
        raise StrideformerError(f"the predictions are of other labels than {folder}: calibrate on its own predictions")
    kind, scores = documents.problem_type, documents.scores
    fitted = fit_temperature(scores, documents.truth, kind)
    calibrated = with_temperature(scores, fitted, kind)
    thresholds = best_thresholds(calibrated, documents.truth) if kind == "multi_label_classification" else None
    old_thresholds = space.thresholds or [MULTI_LABEL_THRESHOLD] * len(space.names)
    values = json.loads(file.read_text(encoding="utf-8"))
    values |= {"temperature": fitted * space.temperature, "thresholds": thresholds}
    StrideformerConfig.from_dict(dict(values))  # refuses what could not be loaded again
    content = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_atomically(
        pyarrow.fs.LocalFileSystem(), str(file.absolute()), pa.py_buffer(content.encode()), str(folder.absolute())
    )
    return Calibration(
        model=str(folder),
        temperature=values["temperature"],
        thresholds=thresholds,
        before=_figures(documents, scores, old_thresholds),
        after=_figures(documents, calibrated, thresholds or old_thresholds),
    )


def _figures(documents: ScoredDocuments, scores: np.ndarray, thresholds: Sequence[float]) -> dict[str, float]:
    figures = {
        "log_loss": float(document_losses(scores, documents.truth, documents.problem_type).mean()),
        "expected_calibration_error": calibration_error(scores, documents),
    }
    if documents.problem_type == "multi_label_classification":
        given = scores >= np.asarray(thresholds, np.float32)
        figures["f1_macro"] = label_points(documents.truth, given, len(documents.names))["f1_macro"]
    return figures
