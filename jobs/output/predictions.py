"""Reading back what classify wrote."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.corpus.storage_errors import storage_error
from jobs.output.commit import OWN_COLUMNS
from jobs.output.record import PART, OutputFolder
from strideformer.errors import StrideformerError

# What a baseline of the train job leaves in place of parts.
BASELINE_PREDICTIONS, BASELINE_FIGURES = "predictions.parquet", "metrics.json"
AGAINST = "give the output folder of classify, or of train with --baseline, that labelled the same documents"
NEEDED = ("doc_id", "label", "scores", "num_tokens", "truncated")
# Where both are there, they tell whether early exit has left chunks unread.
OF_EARLY_EXIT = ("num_chunks", "chunks_encoded")


@dataclass(frozen=True)
class Predictions:
    """Labelled documents, from an output folder or straight from a model.

    Attributes:
        url: where they lie, for messages.
        names: of the labels, or of a regression's targets.
        problem_type: ``single_label_classification`` | ``multi_label_classification`` | ``regression``.
        doc_ids: (documents,) string.
        scores: (documents, num_labels) float32.
        given: (documents,) int64 label numbers; (documents, num_labels) bool for multi-label; for regression the
            scores.
        num_tokens: (documents,) int64; None where early exit left some of a document unread, so that they are not its
            length.
        truncated: (documents,) bool.
        quarantined: (quarantined documents,) string, their ids.
        labels: (documents,) a kept column of true labels, where one was asked for.
        finished: whether the job that made them is.
        model: fingerprint of the checkpoint that made them, where it is known.
    """

    url: str
    names: tuple[str, ...]
    problem_type: str
    doc_ids: pa.Array
    scores: np.ndarray
    given: np.ndarray
    num_tokens: np.ndarray | None
    truncated: np.ndarray
    quarantined: pa.Array
    labels: pa.Array | None = None
    finished: bool = True
    model: str | None = None


def read_predictions(url: str, options: Mapping[str, str], label_column: str | None = None) -> Predictions:
    """All parts of an output folder of classify.

    Args:
        label_column: a column that classify kept, to be read as the true labels.

    Raises:
        StrideformerError: it is no such folder, holds no predictions, or has no such column.
    """
    folder = OutputFolder(url, options)
    names = folder.names()
    parts = sorted(name for name in names if PART.fullmatch(name))
    if not parts:
        raise StrideformerError(f"{url} holds no part-*.parquet: give the output folder of classify")
    kept = [] if label_column is None else [label_column]
    if label_column in OWN_COLUMNS:
        raise StrideformerError(
            f"column {label_column!r} of {url} is classify's own: keep the true label under another name, with "
            f"--keep-columns label:truth, or give the labels with --labels"
        )
    table = _read(folder, "", parts, [*NEEDED, *kept], OF_EARLY_EXIT)
    if not table.num_rows:
        raise StrideformerError(f"{url} holds no labelled documents: all were quarantined, or its shards are missing")
    scores_type = table.schema.field("scores").type
    label_names = tuple(field.name for field in scores_type)
    structs = _one(table.column("scores"))
    columns = [field.to_numpy(zero_copy_only=False) for field in structs.flatten()]
    scores = np.stack(columns, axis=1).astype(np.float32)
    problem_type, given = _given(_one(table.column("label")), label_names, scores, url)
    has_record = "job.json" in folder.names("_strideformer")
    record = folder.read_json("_strideformer/job.json") if has_record else {}
    return Predictions(
        url=url,
        names=label_names,
        problem_type=problem_type,
        doc_ids=_one(table.column("doc_id")),
        scores=scores,
        given=given,
        num_tokens=None if _read_in_part(table) else table.column("num_tokens").to_numpy(),
        truncated=table.column("truncated").to_numpy(),
        quarantined=quarantined_ids(folder),
        labels=None if label_column is None else _one(table.column(label_column)),
        finished="_SUCCESS" in names,
        model=record.get("fingerprint", {}).get("model"),
    )


def read_others(url: str, options: Mapping[str, str]) -> Predictions:
    """Predictions to compare others with: of classify, or of a baseline of the train job.

    A baseline's have no scores that are probabilities, and no lengths: those are 1 for what is given, and 0.

    Raises:
        StrideformerError: it is the folder of neither, or as ``read_predictions``.
    """
    folder = OutputFolder(url, options)
    try:
        names = folder.names()
    except StrideformerError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            raise StrideformerError(f"--against {url} is a file: {AGAINST}") from error
        raise
    if BASELINE_PREDICTIONS not in names or BASELINE_FIGURES not in names:
        if not any(map(PART.fullmatch, names)):
            kind = "is a model" if "config.json" in names else "holds no predictions"
            raise StrideformerError(f"--against {url} {kind}: {AGAINST}")
        return read_predictions(url, options)
    record = folder.read_json(BASELINE_FIGURES)
    labels, problem_type = tuple(record["labels"]), str(record["problem_type"])
    filesystem, path = folder.at(BASELINE_PREDICTIONS)
    try:
        table = pq.read_table(path, filesystem=filesystem, columns=["doc_id", "predicted"])
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, url) from error
    predicted, number = _one(table.column("predicted")), len(table)
    scores = np.zeros((number, len(labels)), np.float32)
    if problem_type == "regression":
        flat = pc.list_flatten(predicted) if pa.types.is_list(predicted.type) else predicted
        scores = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(number, len(labels))
        given = scores
    elif problem_type == "multi_label_classification":
        scores[pc.list_parent_indices(predicted).to_numpy(), _numbers(pc.list_flatten(predicted), labels, url)] = 1
        given = scores > 0
    else:
        given = _numbers(predicted, labels, url)
        scores[np.arange(number), given] = 1
    nothing = (np.zeros(number, np.int64), np.zeros(number, bool), pa.array([], pa.string()))
    return Predictions(url, labels, problem_type, _one(table.column("doc_id")), scores, given, *nothing)


def quarantined_ids(folder: OutputFolder) -> pa.Array:
    """(documents,) string: the ids in a job's quarantine."""
    parts = sorted(name for name in folder.names("_quarantine") if PART.fullmatch(name))
    return (
        _one(_read(folder, "_quarantine", parts, ["doc_id"]).column("doc_id")) if parts else pa.array([], pa.string())
    )


def _read_in_part(table: pa.Table) -> bool:
    if not set(OF_EARLY_EXIT) <= set(table.column_names):
        return False
    num_chunks, chunks_encoded = (table.column(name) for name in OF_EARLY_EXIT)
    return bool(pc.any(pc.less(chunks_encoded, num_chunks)).as_py())


def _read(
    folder: OutputFolder, below: str, names: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()
) -> pa.Table:
    filesystem, root = folder.at(below) if below else folder.at()
    try:
        dataset = ds.dataset([posixpath.join(root, name) for name in names], filesystem=filesystem, format="parquet")
        missing = [name for name in columns if name not in dataset.schema.names]
        if missing and "chunk_vectors" in dataset.schema.names:
            raise StrideformerError(
                f"{folder.url} is a store of embeddings and has no predictions: give the output folder of classify, "
                f"which labels a store with --embeddings {folder.url}"
            )
        if missing:
            raise StrideformerError(
                f"the predictions in {folder.url} have no column {missing[0]!r}: they have "
                f"{', '.join(map(repr, dataset.schema.names))}"
            )
        present = [name for name in optional if name in dataset.schema.names and name not in columns]
        return dataset.to_table(columns=[*columns, *present])
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, folder.url) from error


def _given(label: pa.Array, names: tuple[str, ...], scores: np.ndarray, url: str) -> tuple[str, np.ndarray]:
    """The kind of labels that a label column holds, and what it gives each document."""
    if pa.types.is_list(label.type):
        mask = np.zeros(scores.shape, bool)
        numbers = _numbers(pc.list_flatten(label), names, url)
        mask[pc.list_parent_indices(label).to_numpy(), numbers] = True
        return "multi_label_classification", mask
    if label.null_count == len(label):
        return "regression", scores
    return "single_label_classification", _numbers(label, names, url)


def _numbers(labels: pa.Array, names: tuple[str, ...], url: str) -> np.ndarray:
    positions = pc.index_in(labels, pa.array(names, pa.string()))
    if positions.null_count:
        raise StrideformerError(f"{url} has labels without scores: give an output folder of classify as it was written")
    return np.asarray(positions.to_numpy(), np.int64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """One array of a column of several chunks."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
