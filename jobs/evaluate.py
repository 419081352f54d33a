"""The evaluate job: predictions and true labels, matched by id, to figures; and calibration from them.

``strideformer evaluate PREDICTIONS --labels FILE``, ``strideformer evaluate --model CHECKPOINT --corpus FILE``, or
with ``--embeddings STORE`` in place of ``--corpus``; ``python -m jobs.evaluate …``, or ``run(settings)``.

Figures are of the documents that have both a prediction and a label that the model knows. A labelled document that was
quarantined, was not predicted, or has a label that the model does not have is counted and told; the accuracy that
counts these as wrong stands beside the other wherever there are any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from transformers.utils.logging import disable_progress_bar

from jobs.cli import run_command
from jobs.corpus.columns import InputColumns
from jobs.corpus.labels import Labels, read_labels
from jobs.embeddings.store import EmbeddingStore
from jobs.evaluate_settings import EvaluateSettings
from jobs.evaluation.calibrate import calibrate, check_calibratable, require_made_by
from jobs.evaluation.match import Matched, match_labels, match_predictions, refuse_unusable
from jobs.evaluation.predict import predict_corpus, predict_store
from jobs.evaluation.table import print_evaluation
from jobs.evaluation.truth import read_truth
from jobs.output.json_file import check_json_file, write_json
from jobs.output.predictions import Predictions, read_others, read_predictions
from jobs.stored_model import local_model
from strideformer import Pipeline
from strideformer.checkpoint import checkpoint_folders
from strideformer.extras import import_from_extra
from strideformer.metrics import Evaluation, compare, evaluate


def run(settings: EvaluateSettings) -> dict[str, Any]:
    """Evaluate, print, and write what was asked for.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        StrideformerError: the settings, the labels, the predictions or the checkpoint are wrong.
    """
    import_from_extra("sklearn", "train")
    check_json_file(settings.json_file, settings.storage_option, settings.overwrite)
    folder = check_calibratable(str(settings.model)) if settings.calibrate else None
    disable_progress_bar()
    predictions, matched = predictions_and_labels(settings)
    if settings.calibrate and settings.predictions is not None:
        require_made_by(predictions, str(settings.model))
    other = None
    if settings.against is not None:
        other = match_predictions(matched, read_others(settings.against, settings.storage_option))
    evaluation = evaluate(matched.documents, settings.length_buckets, settings.resamples, settings.seed)
    comparison = None if other is None else compare(other[0], other[1], settings.resamples, settings.seed)
    calibration = None if folder is None else calibrate(folder, matched.documents)
    of_all = accuracy_of_all(matched, evaluation)
    if not predictions.finished:
        print(f"{predictions.url} is of a job that is not finished: the figures are of a part.", file=sys.stderr)
    if other is not None and other[2]:
        print(f"{other[2]:,} documents are not in {settings.against}: the comparison is without them.", file=sys.stderr)
    print_evaluation(predictions.names, evaluation, matched.coverage, of_all, comparison, calibration)
    report = {
        "settings": settings.model_dump(),
        "labels": list(predictions.names),
        "coverage": asdict(matched.coverage),
        "accuracy_of_all_labelled": of_all,
        **asdict(evaluation),
        "comparison": None if comparison is None else asdict(comparison),
        "calibration": None if calibration is None else asdict(calibration),
        "versions": {name: version(name) for name in ("strideformer", "scikit-learn", "scipy", "numpy")},
    }
    write_json(settings.json_file, settings.storage_option, report)
    return report


def predictions_and_labels(settings: EvaluateSettings) -> tuple[Predictions, Matched]:
    """Predictions from where the settings say, with the true labels of their documents."""
    options = settings.storage_option
    if settings.corpus:
        # Labels first: an unusable column is told before the model runs.
        of_corpus = labels_of(settings, settings.corpus)
        columns = InputColumns(settings.text_column, settings.pair_column, settings.id_column)
        model = local_model(str(settings.model), options)
        checkpoint_folders(model)
        pipeline = Pipeline(model, device=settings.device, dtype=settings.dtype)
        space = pipeline.label_space
        column = of_corpus.table.column("label").combine_chunks()
        truth = read_truth(column, space.names, space.problem_type, settings.missing_label)
        if not truth.usable.any():
            refuse_unusable(truth, space.names)
        predictions = predict_corpus(pipeline, settings.corpus, columns, settings.format, options)
        return predictions, match_labels(predictions, of_corpus, settings.missing_label)
    labels = labels_of(settings, settings.labels) if settings.labels else None
    kept = None if settings.labels else settings.label_column
    if settings.embeddings is not None:
        store = EmbeddingStore.open(settings.embeddings, options)
        predictions = predict_store(store, local_model(str(settings.model), options), settings.device, kept)
    else:
        predictions = read_predictions(str(settings.predictions), options, kept)
    return predictions, match_labels(predictions, labels, settings.missing_label)


def labels_of(settings: EvaluateSettings, inputs: Sequence[str]) -> Labels:
    """The labels of labelled files, by document id."""
    column = settings.label_column or "label"
    return read_labels(inputs, settings.id_column, column, settings.format, settings.storage_option)


def accuracy_of_all(matched: Matched, evaluation: Evaluation) -> float | None:
    """The accuracy that counts every labelled document that is left out as wrong; None for a regression."""
    accuracy = evaluation.figures.get("accuracy", evaluation.figures.get("subset_accuracy"))
    return None if accuracy is None else accuracy.value * matched.coverage.evaluated / matched.coverage.labels


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.evaluate``."""
    return run_command("evaluate", EvaluateSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
