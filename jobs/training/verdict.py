"""Is the model better than TF-IDF? Nobody should deploy one that loses to it without being told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from jobs.train_settings import TrainSettings
from jobs.training.baselines import measure_scores, tfidf_scores
from jobs.training.data import TrainingData
from jobs.training.labels import REGRESSION, SINGLE
from strideformer import metrics
from strideformer.errors import StrideformerError
from strideformer.scored_documents import ScoredDocuments
from strideformer.training.selection import LOWER_IS_BETTER, choose_metric

# Of the weights of TF-IDF, which are there two or three times while it is trained: of many classes they need more
# memory than the model that was asked for, and a process that takes more than there is may be killed.
MOST_BYTES = 4e9


@dataclass(frozen=True)
class Verdict:
    """What the comparison came to.

    Attributes:
        sentence: for a person; why there was no comparison, where there was none.
        baselines: figures of each baseline that was trained.
    """

    sentence: str
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)


def compare_with_tfidf(
    settings: TrainSettings, data: TrainingData, figures: dict[str, float], logits: torch.Tensor
) -> Verdict:
    """Train TF-IDF with a linear SVM (of numbers, ridge regression) on the same documents, and say which is better.

    Args:
        settings: of the run.
        data: of the run.
        figures: of the model on validation.
        logits: (validation documents, num_labels) float32, of the model.
    """
    if not settings.compare_baselines:
        return Verdict("This model was not compared with TF-IDF: --compare-baselines does it.")
    if not data.have_texts:
        return Verdict(
            "This model was not compared with TF-IDF, since the texts are not at hand: give --train files that have "
            "them beside the labels, or embed with the text among --keep-columns."
        )
    try:
        return _compared(settings, data, figures, logits)
    except StrideformerError as error:
        return Verdict(f"This model was not compared with TF-IDF: {error}.")
    except MemoryError:
        return Verdict(
            "This model was not compared with TF-IDF, for which the memory did not suffice: --no-compare-baselines "
            "leaves it out."
        )


def _compared(settings: TrainSettings, data: TrainingData, figures: dict[str, float], logits: torch.Tensor) -> Verdict:
    rival = f"TF-IDF with {'ridge regression' if data.encoding.problem_type == REGRESSION else 'a linear SVM'}"
    print(f"training {rival} to compare with (--no-compare-baselines leaves it out)", flush=True)
    scores = tfidf_scores(data, settings.seed, MOST_BYTES)
    baseline = measure_scores(scores, data, of_svm=True)
    metric = choose_metric(settings.metric, data.encoding.problem_type)
    metric = metric if metric in baseline else choose_metric(None, data.encoding.problem_type)
    ours, theirs = figures[metric], baseline[metric]
    loses = ours > theirs if metric in LOWER_IS_BETTER else ours < theirs
    verdict = f"WARNING: this model loses to {rival}" if loses else f"{rival} is no better"
    sentence = f"{verdict}: validation {metric} {ours:.4f}, TF-IDF {theirs:.4f}{_chance(data, logits, scores)}"
    return Verdict(sentence, {"tfidf": baseline})


def _chance(data: TrainingData, logits: torch.Tensor, scores: np.ndarray) -> str:
    """How probable such a difference in accuracy is between models that are equally good; of classes alone."""
    encoding = data.encoding
    if encoding.problem_type == REGRESSION:
        return ""
    labels = data.encoding.encode(data.validation.labels).numpy()

    def scored(values: np.ndarray) -> ScoredDocuments:
        single = encoding.problem_type == SINGLE
        given = values.argmax(axis=1) if single else values > 0
        truth = labels if single else labels.astype(bool)
        return ScoredDocuments(encoding.names, encoding.problem_type, truth, given, values)

    found = metrics.compare(scored(logits.numpy()), scored(scores), resamples=100)
    return (
        f" (accuracy: {found.only_first_right} documents right only here, {found.only_second_right} only there, "
        f"McNemar's p = {found.p_value:.2g})"
    )
