"""Do scores mean what they say: expected calibration error, a temperature, thresholds."""

from __future__ import annotations

import numpy as np

from strideformer.errors import StrideformerError
from strideformer.extras import import_from_extra
from strideformer.predictions import MULTI_LABEL_THRESHOLD

CALIBRATION_BINS = 15  # as Guo et al. 2017 have it
# A loss that is no lower between these temperatures than at one of them is a sign that there is nothing to fit.
TEMPERATURES = (0.02, 50.0)
SMALLEST_GAIN = 1e-9
# Scores are stored as float32: what it rounds to 0 or 1 is taken for the nearest that it can tell from them.
SMALLEST_SCORE = float(np.finfo(np.float32).tiny)
LARGEST_SCORE = 1 - 2.0**-24


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """The mean distance between how sure and how often right, over bins of equal width weighted by their documents.

    Naeini, Cooper and Hauskrecht 2015 (AAAI), as Guo et al. 2017 (ICML, equation 3) use it: 15 bins
    ``((m - 1) / 15, m / 15]`` of the score of the best label. Of a multi-label model it is taken over every score of
    every document.

    Args:
        confidence: (n,) scores in [0, 1].
        right: (n,) bool, whether what was scored is true.
    """
    position = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    sure = np.bincount(position, weights=confidence.astype(np.float64), minlength=bins)
    often = np.bincount(position, weights=right.astype(np.float64), minlength=bins)
    return float(np.abs(sure - often).sum() / len(confidence))


def logits_of(scores: np.ndarray, problem_type: str) -> np.ndarray:
    """Logits that give these (num_documents, num_labels) scores again, in float64.

    Of a softmax they are the logarithms, which differ from the model's logits by a constant a document, and that
    changes no softmax at any temperature.
    """
    inside = np.clip(scores.astype(np.float64), SMALLEST_SCORE, LARGEST_SCORE)
    logits: np.ndarray = np.log(inside)
    return logits - np.log1p(-inside) if problem_type == "multi_label_classification" else logits


def fit_temperature(scores: np.ndarray, truth: np.ndarray, problem_type: str) -> float:
    """The temperature that these scores' logits are to be divided by, for the least negative log-likelihood.

    Temperature scaling of Guo et al. 2017 (ICML). It never changes which label is best. Scores that were made with a
    temperature need the product of both.

    Args:
        scores: (num_documents, num_labels) probabilities of documents that the model was not trained on.
        truth: (num_documents,) int64, or (num_documents, num_labels) bool for multi-label.

    Raises:
        StrideformerError: a regression has no temperature, or the documents are too few or too easy to tell one.
    """
    if problem_type == "regression":
        raise StrideformerError("a regression has no scores to calibrate: leave calibration out")
    optimize = import_from_extra("scipy.optimize", "train")
    logits = logits_of(scores, problem_type)

    def loss(log_temperature: float) -> float:
        return _log_loss(logits / np.exp(log_temperature), truth, problem_type)

    bounds = tuple(np.log(TEMPERATURES).tolist())
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    at_bounds = [loss(bound) for bound in bounds]
    if min(at_bounds) <= float(found.fun) + SMALLEST_GAIN:
        kind = "right" if at_bounds[0] < at_bounds[1] else "as if by chance"
        raise StrideformerError(
            f"no temperature fits these {len(scores)} documents, since the scores are {kind} whatever it is: "
            f"calibrate on more validation documents, which the model was not trained on"
        )
    return float(np.exp(found.x))


def with_temperature(scores: np.ndarray, temperature: float, problem_type: str) -> np.ndarray:
    """What the scores become when their logits are divided by a temperature; float64."""
    logits = logits_of(scores, problem_type) / temperature
    if problem_type == "multi_label_classification":
        return np.asarray(1 / (1 + np.exp(-logits)))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def best_thresholds(scores: np.ndarray, truth: np.ndarray) -> list[float]:
    """For each label of a multi-label model the threshold from which its F1 is highest on these documents.

    It lies halfway between two scores. A label that no document has keeps 0.5.

    Args:
        scores: (num_documents, num_labels), with the temperature that will be used.
        truth: (num_documents, num_labels) bool.
    """
    metrics = import_from_extra("sklearn.metrics", "train")
    thresholds = []
    for label in range(scores.shape[1]):
        if not truth[:, label].any():
            thresholds.append(MULTI_LABEL_THRESHOLD)
            continue
        precision, recall, places = metrics.precision_recall_curve(truth[:, label], scores[:, label])
        above = precision + recall
        f1 = np.divide(2 * precision * recall, above, out=np.zeros_like(above), where=above > 0)[: len(places)]
        best = int(f1.argmax())
        below = places[best - 1] if best else 0.0
        thresholds.append(float((places[best] + below) / 2))
    return thresholds


def document_losses(scores: np.ndarray, truth: np.ndarray, problem_type: str) -> np.ndarray:
    """(num_documents,) negative log-likelihoods; of a multi-label model the mean over its labels."""
    return _losses(logits_of(scores, problem_type), truth, problem_type)


def _log_loss(logits: np.ndarray, truth: np.ndarray, problem_type: str) -> float:
    return float(_losses(logits, truth, problem_type).mean())


def _losses(logits: np.ndarray, truth: np.ndarray, problem_type: str) -> np.ndarray:
    if problem_type == "multi_label_classification":
        losses: np.ndarray = np.logaddexp(0, np.where(truth, -logits, logits)).mean(axis=1)
        return losses
    most = logits.max(axis=1)
    total = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
    return np.asarray(total - logits[np.arange(len(truth)), truth])
