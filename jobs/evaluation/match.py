"""Predictions and true labels of the same documents, matched by id; whatever has no match is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.labels import MAKE_ANEW, Labels, require_unique
from jobs.evaluation.truth import Truth, read_truth
from jobs.output.predictions import Predictions
from strideformer.errors import StrideformerError
from strideformer.scored_documents import ScoredDocuments


@dataclass(frozen=True)
class Coverage:
    """How many documents the figures are of, and why not of more.

    Attributes:
        predictions: documents with a prediction.
        labels: documents with a true label, in predictions or not. Where classify kept the labels, those of
            quarantined documents are not known, and all of these count as labelled.
        evaluated: documents with both, of which the figures are.
        quarantined: labelled documents that classify quarantined.
        without_prediction: labelled documents that are neither predicted nor quarantined.
        without_label: predicted documents with no true label, or not among the labels at all.
        unknown_label: labelled documents that are left out since the model does not have their label.
        not_finite: labelled documents that are left out since a score is NaN or infinite.
        unknown_labels: the labels that the model does not have, with how often they occur.
        unreadable: rows of the labels that cannot be read, by source and reason; see `Labels`.
    """

    predictions: int
    labels: int
    evaluated: int
    quarantined: int
    without_prediction: int
    without_label: int
    unknown_label: int
    not_finite: int
    unknown_labels: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Matched:
    """Documents with prediction and label, their ids, and what is left out."""

    documents: ScoredDocuments
    doc_ids: pa.Array
    coverage: Coverage


def match_labels(predictions: Predictions, labels: Labels | None, missing: str | None = None) -> Matched:
    """Match predictions with their labels.

    Args:
        labels: None where the predictions carry their labels.
        missing: as of ``read_truth``.

    Raises:
        StrideformerError: there are no predictions, an id was predicted twice, nothing matches, or the labels are of
            a wrong type.
    """
    number = len(predictions.doc_ids)
    if not number:
        raise StrideformerError(
            f"no document of {predictions.url} can be evaluated: all {len(predictions.quarantined)} were quarantined, "
            f"for reasons that classify writes to _quarantine"
        )
    if labels is None:
        assert predictions.labels is not None
        truth = read_truth(predictions.labels, predictions.names, predictions.problem_type, missing)
        quarantined = len(predictions.quarantined)
        num_labels, without_prediction = int((~truth.missing).sum()) + quarantined, 0
    else:
        require_unique(predictions.doc_ids, predictions.url, MAKE_ANEW)
        label_ids = labels.table.column("doc_id").combine_chunks()
        positions = pc.index_in(predictions.doc_ids, label_ids)
        if positions.null_count == number:
            raise StrideformerError(
                f"no id of the labels (such as {label_ids[0].as_py()!r}) is among the predictions (such as "
                f"{predictions.doc_ids[0].as_py()!r}): check --labels and --id-column"
            )
        all_labels = labels.table.column("label").combine_chunks()
        truth = read_truth(all_labels.take(positions), predictions.names, predictions.problem_type, missing)
        labelled = ~read_truth(all_labels, predictions.names, predictions.problem_type, missing).missing
        in_quarantine = _among(label_ids, predictions.quarantined)
        predicted = _among(label_ids, predictions.doc_ids)
        num_labels = int(labelled.sum())
        quarantined = int((labelled & in_quarantine & ~predicted).sum())
        without_prediction = int((labelled & ~in_quarantine & ~predicted).sum())
    finite = np.isfinite(predictions.scores).all(axis=1)
    used = np.flatnonzero(truth.usable & finite)
    coverage = Coverage(
        predictions=number,
        labels=num_labels,
        evaluated=len(used),
        quarantined=quarantined,
        without_prediction=without_prediction,
        without_label=int(truth.missing.sum()),
        unknown_label=int(truth.unknown.sum()),
        not_finite=int((truth.usable & ~finite).sum()),
        unknown_labels=truth.unknown_labels,
        unreadable={} if labels is None else labels.unreadable,
    )
    if not len(used):
        refuse_unusable(truth, predictions.names)
    return Matched(_scored(predictions, truth, used), predictions.doc_ids.take(pa.array(used)), coverage)


def match_predictions(matched: Matched, other: Predictions) -> tuple[ScoredDocuments, ScoredDocuments, int]:
    """The documents of both, in one order, and how many of the first the other has not.

    Raises:
        StrideformerError: the other has other labels, an id twice, or no document in common.
    """
    documents = matched.documents
    if set(other.names) != set(documents.names) or other.problem_type != documents.problem_type:
        only = sorted(set(other.names).symmetric_difference(documents.names))[:3]
        raise StrideformerError(
            f"{other.url} is of other labels ({', '.join(only) or other.problem_type}): compare models of the same "
            f"labels"
        )
    for ids, where in ((matched.doc_ids, "the predictions"), (other.doc_ids, other.url)):
        require_unique(ids, where, MAKE_ANEW)
    positions = pc.index_in(matched.doc_ids, other.doc_ids)
    both = np.flatnonzero(positions.is_valid().to_numpy(zero_copy_only=False))
    rows = positions.drop_null().to_numpy()
    finite = np.isfinite(other.scores[rows]).all(axis=1)
    both, rows = both[finite], rows[finite]
    if not len(both):
        raise StrideformerError(f"{other.url} has none of the evaluated documents: compare by the same ids")
    first = documents.take(both)
    order = np.array([other.names.index(name) for name in documents.names])
    given = other.given[rows]
    second = ScoredDocuments(
        names=documents.names,
        problem_type=documents.problem_type,
        truth=first.truth,
        given=given[:, order] if given.ndim == 2 else np.argsort(order)[given],
        scores=other.scores[rows][:, order],
    )
    return first, second, len(documents) - len(both)


def refuse_unusable(truth: Truth, names: tuple[str, ...]) -> None:
    """Refuse labels of which none can be used.

    Raises:
        StrideformerError: says why.
    """
    if truth.unknown.any():
        unknown = ", ".join(list(truth.unknown_labels)[:5])
        raise StrideformerError(
            f"the model has none of the true labels ({unknown}), it has {', '.join(names[:5])}: check --label-column"
        )
    raise StrideformerError("no predicted document has a true label: check --label-column")


def _among(ids: pa.Array, others: pa.Array) -> np.ndarray:
    """(ids,) bool: which are among others."""
    return np.asarray(pc.is_in(ids, others).to_numpy(zero_copy_only=False))


def _scored(predictions: Predictions, truth: Truth, rows: np.ndarray) -> ScoredDocuments:
    return ScoredDocuments(
        names=predictions.names,
        problem_type=predictions.problem_type,
        truth=truth.values[rows],
        given=predictions.given[rows],
        scores=predictions.scores[rows],
        num_tokens=None if predictions.num_tokens is None else predictions.num_tokens[rows],
        truncated=predictions.truncated[rows],
    )
