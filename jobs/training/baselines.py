"""What a Strideformer must beat: TF-IDF with a linear SVM, logistic regression on mean vectors, the first tokens alone.

A baseline writes its figures and its predictions on validation, which ``evaluate --against`` reads. Those of
scikit-learn are not saved as models: that would take a pickle, which nobody should load from a stranger.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from jobs.corpus.storage_errors import require_local_folder
from jobs.output.predictions import BASELINE_FIGURES, BASELINE_PREDICTIONS
from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData, load_data
from jobs.training.labelled import LabelledDocuments
from jobs.training.labels import MULTI, REGRESSION, SINGLE, LabelEncoding
from jobs.training.preparation import Preparation
from jobs.training.setup import new_config, new_model
from jobs.training.truncation import own_length, predict_from_first_tokens
from strideformer.errors import StrideformerError
from strideformer.training.documents import EmbeddedDocuments
from strideformer.training.selection import measure


def run(settings: TrainSettings) -> dict[str, float]:
    """Train the baseline that the settings name, and write ``metrics.json`` and ``predictions.parquet``.

    Raises:
        StrideformerError: the output exists, or what any training refuses.
    """
    output = Path(settings.output)
    if output.exists():
        raise StrideformerError(f"output {output} exists: choose a folder that does not")
    require_local_folder(output)
    data = load_data(settings, settings.seed)
    print("\n".join(data.lines), flush=True)
    if settings.baseline == "tfidf":
        scores = tfidf_scores(data, settings.seed)
    elif settings.baseline == "mean":
        scores = mean_scores(settings, data)
    else:
        scores = predict_from_first_tokens(settings, data, output)
    figures = measure_scores(scores, data, of_svm=settings.baseline == "tfidf")
    output.mkdir(parents=True, exist_ok=True)
    pq.write_table(_predictions(scores, data), output / BASELINE_PREDICTIONS)
    record = {
        "baseline": settings.baseline,
        "labels": list(data.encoding.names),
        "problem_type": data.encoding.problem_type,
        "seed": settings.seed,
        **({"max_length": own_length(settings)} if settings.baseline == "truncate" else {}),
        "documents": len(data.training),
        "validation_documents": len(data.validation),
        "validation": figures,
    }
    (output / BASELINE_FIGURES).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    line = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(f"baseline {settings.baseline}, validation: {line}; figures and predictions are in {output}", flush=True)
    return figures


def tfidf_scores(data: TrainingData, seed: int = 0, most_bytes: float = math.inf) -> np.ndarray:
    """(validation documents, num_labels) float32 scores of words and pairs of words, by a linear SVM.

    Terms of one document are left out, and a term's weight grows with the logarithm of its count, as is usual for
    topics (Joachims 1998; scikit-learn's own example of text classification).

    Args:
        data: of the run.
        seed: of the SVM.
        most_bytes: that its weights and scores may take, which are float64 for each class and term or document.

    Raises:
        StrideformerError: there are no texts or no words in them, or it would take more.
    """
    if not data.have_texts:
        raise StrideformerError("the documents have no text for TF-IDF: give files that have it beside the labels")
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=min(2, len(data.training)))
    try:
        training = vectorizer.fit_transform(_whole_texts(data.training))
    except ValueError as error:
        raise StrideformerError(f"TF-IDF finds no word that two documents share ({error}): give more text") from error
    classes, terms = len(data.encoding.names), training.shape[1]
    needed = 8 * classes * (terms + len(data.validation))
    if needed > most_bytes:
        raise StrideformerError(
            f"{classes:,} classes of {terms:,} terms would take {needed / 1e9:,.0f} GB of memory, more than "
            f"{most_bytes / 1e9:.0f}; --baseline tfidf tries it all the same"
        )
    if data.encoding.problem_type == REGRESSION:
        model: Any = Ridge(random_state=seed)
    else:
        model = LinearSVC(random_state=seed)
    return _fitted_scores(model, training, vectorizer.transform(_whole_texts(data.validation)), data)


def mean_scores(settings: TrainSettings, data: TrainingData) -> np.ndarray:
    """(validation documents, num_labels) float32 scores of the mean of a document's chunk vectors."""
    plain = {**settings.aggregator, "bag_of_tokens": False}
    frozen = settings.model_copy(update={"freeze_first_model": True, "aggregator": plain})
    config = new_config(frozen, data)
    preparation = Preparation(frozen, new_model(config, settings.seed), data.encoding, data.encoder)
    training = _means(preparation.documents(data.training, None, "training"))
    validation = _means(preparation.documents(data.validation, None, "validation"))
    regression = data.encoding.problem_type == REGRESSION
    model = make_pipeline(StandardScaler(), Ridge() if regression else LogisticRegression(max_iter=2000))
    return _fitted_scores(model, training, validation, data)


def measure_scores(scores: np.ndarray, data: TrainingData, of_svm: bool) -> dict[str, float]:
    """Figures on validation; an SVM's margins are no logits, so they have no loss."""
    labels = data.encoding.encode(data.validation.labels)
    figures = measure(torch.from_numpy(scores), labels, data.encoding.problem_type)
    if of_svm and data.encoding.problem_type != REGRESSION:
        del figures["loss"]
    return figures


def _fitted_scores(model: Any, training: Any, validation: Any, data: TrainingData) -> np.ndarray:
    labels = data.encoding.encode(data.training.labels).numpy()
    if data.encoding.problem_type == REGRESSION:
        scores = np.asarray(model.fit(training, labels).predict(validation)).reshape(len(data.validation), -1)
        return scores.astype(np.float32)
    if data.encoding.problem_type == MULTI:
        model = OneVsRestClassifier(model)
    scores = np.asarray(model.fit(training, labels).decision_function(validation), np.float32)
    if scores.ndim == 1:  # one score for two classes
        scores = np.stack([-scores, scores], axis=1) if data.encoding.problem_type == SINGLE else scores[:, None]
    return scores


def _means(documents: Any) -> np.ndarray:
    """(documents, hidden_size) float32."""
    assert isinstance(documents, EmbeddedDocuments)
    sums = np.add.reduceat(documents.chunk_vectors.float().numpy(), documents.chunk_offsets[:-1], axis=0)
    return np.asarray(sums / documents.chunk_counts[:, None], np.float32)


def _whole_texts(documents: LabelledDocuments) -> list[str]:
    texts, pairs = documents.texts()
    return texts if pairs is None else [f"{first}\n{second}" for first, second in zip(texts, pairs, strict=True)]


def _predictions(scores: np.ndarray, data: TrainingData) -> pa.Table:
    """``doc_id``, ``label`` and ``predicted`` of the validation documents."""
    table = data.validation.table.select(["doc_id", "label"])
    return table.append_column("predicted", predicted_labels(scores, data.encoding))


def predicted_labels(scores: np.ndarray, encoding: LabelEncoding) -> pa.Array:
    """Class names, lists of them, or values."""
    names = pa.array(encoding.names, pa.string())
    if encoding.problem_type == SINGLE:
        return names.take(pa.array(scores.argmax(axis=1)))
    if encoding.problem_type == REGRESSION:
        return pa.array(scores[:, 0]) if scores.shape[1] == 1 else pa.array(list(scores))
    rows, classes = np.nonzero(scores > 0)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(scores)))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(classes)))
