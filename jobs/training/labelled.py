"""Labelled documents of a corpus: read as classify reads them, without those that have no text or no label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import check_columns, make_plan
from jobs.corpus.read import read_shard
from jobs.training.labels import MULTI, SINGLE, LabelEncoding, has_label
from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from jobs.training.labelled_vectors import StoredVectors

MISSING_LABEL = "missing_label"
# Of more classes, the most and the least frequent are told.
CLASSES_TOLD = 50
# Column of a document's row in the stores that have its vectors.
STORED = "_stored"


@dataclass(frozen=True)
class LabelledColumns:
    """Where a corpus has its texts and labels.

    Attributes:
        text: the text; the short first text where there is a pair.
        label: the label.
        pair: the long second text.
        id: the document's own id.
        missing: a value of the label column that stands for no label, such as -1 in data sets of the hub.
    """

    text: str = "text"
    label: str = "label"
    pair: str | None = None
    id: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class LabelledDocuments:
    """Documents that have a text and a label.

    Attributes:
        table: ``doc_id`` string, ``_text`` large_string, ``_text_pair`` large_string (only of pairs), ``label``;
            ``_stored`` int64, the document's row in ``vectors``, where there are such.
        dropped: how many documents were left out, by reason: those of ``read_shard``, and ``missing_label``.
        vectors: of stores of embeddings, which have the documents' chunk vectors; there may be no texts then.
    """

    table: pa.Table
    dropped: Mapping[str, int]
    vectors: StoredVectors | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def labels(self) -> pa.ChunkedArray:
        """As they were in the corpus."""
        return self.table.column("label")

    @property
    def have_texts(self) -> bool:
        """Documents of a store that kept none, or of files with labels alone, have no texts."""
        return "_text" in self.table.column_names

    def texts(self, start: int = 0, stop: int | None = None) -> tuple[list[str], list[str] | None]:
        """Texts, and second texts of pairs, of some documents, as ``Chunker.views`` takes them."""
        some = self.table.slice(start, None if stop is None else stop - start)
        pair = some.column("_text_pair").to_pylist() if "_text_pair" in some.column_names else None
        return some.column("_text").to_pylist(), pair


def read_labelled(
    inputs: Sequence[str],
    columns: LabelledColumns,
    options: Mapping[str, str],
    file_format: str = "auto",
    needs_text: bool = True,
) -> LabelledDocuments:
    """Read a whole labelled corpus.

    Documents without a text or a label are left out and counted: nothing can be learned from them, and a corpus of
    any size has some.

    Args:
        inputs: files, folders or globs on any filesystem.
        columns: where texts and labels are.
        options: storage options.
        file_format: of all files; ``auto`` goes by each one's extension.
        needs_text: refuse files without the column of the text; otherwise such have labels alone.

    Raises:
        StrideformerError: the corpus cannot be read, lacks a column, or has no document with a text and a label.
    """
    if columns.label in (columns.text, columns.pair):
        raise StrideformerError(f"the label column {columns.label!r} is also a column of text: name another")
    needed = InputColumns(text=columns.text, pair=columns.pair, id=columns.id, keep=(columns.label,))
    files = list_inputs(inputs, options, None if file_format == "auto" else file_format)
    try:
        kept = check_columns(files, needed, options)
    except StrideformerError:
        if needs_text:
            raise
        needed = replace(needed, text=None, pair=None)
        kept = check_columns(files, needed, options)
    plan = make_plan(files, needed, options)
    tables = [
        read_shard(plan.filter(pc.equal(plan.column("shard"), shard)), needed, kept, options)
        for shard in pc.unique(plan.column("shard")).to_pylist()
    ]
    if not tables:
        raise StrideformerError(f"{', '.join(inputs)} holds no document: check the path")
    return usable(pa.concat_tables(tables), columns, inputs)


def usable(table: pa.Table, columns: LabelledColumns, inputs: Sequence[str]) -> LabelledDocuments:
    """The rows of a table as ``read_shard`` gives it that have a text and a label.

    Raises:
        StrideformerError: there is none.
    """
    labels = table.column(columns.label)
    labelled = has_label(labels)
    if columns.missing is not None:
        if pa.types.is_nested(labels.type):
            raise StrideformerError(
                f"--missing-label {columns.missing} is for one label a document, and {columns.label!r} holds "
                f"{labels.type}: leave it out; null is a missing label"
            )
        is_missing = pc.fill_null(pc.equal(labels.cast(pa.string()), columns.missing), False)
        labelled = pc.and_(labelled, pc.invert(is_missing))
    # A label that could not be read is the reason of its row, so a row is counted once.
    reason = pc.if_else(
        labelled, table.column("quarantine_reason"), pc.coalesce(table.column("quarantine_reason"), MISSING_LABEL)
    )
    fit = reason.is_null()
    counted = pc.value_counts(reason.filter(reason.is_valid()))
    dropped = {str(entry["values"]): int(entry["counts"]) for entry in counted.to_pylist()}
    if not pc.any(fit).as_py():
        why = ", ".join(f"{number} {name}" for name, number in dropped.items())
        raise StrideformerError(f"no document of {', '.join(inputs)} has both a text and a label: {why}")
    names = ["doc_id", *(name for name in ("_text", "_text_pair", STORED) if name in table.column_names)]
    kept = table.select(names).append_column("label", labels).filter(fit)
    return LabelledDocuments(kept, dropped)


def split_off(
    documents: LabelledDocuments, share: float, seed: int, problem_type: str
) -> tuple[LabelledDocuments, LabelledDocuments]:
    """Divide documents into training and validation.

    Args:
        documents: of both.
        share: of validation. Documents of classes stand class by class, those of one in a random order, and are taken
            at even distances along all: of each class the share, give or take a document, and so of many classes that
            are small, too. With several classes each, a document stands with the rarest of its own. Of a class that
            training would lack a document goes back to it, so a class of a single document trains.
        seed: of the order.
        problem_type: as transformers names it.

    Raises:
        StrideformerError: nothing would be left of one of them.
    """
    number = len(documents)
    order = np.random.default_rng((seed, 0x5711D)).permutation(number)
    # Of pairs of a document and one of its classes.
    owners, classes = np.empty(0, np.int64), np.empty(0, np.int64)
    labels = documents.labels.combine_chunks()
    if problem_type == SINGLE:
        owners, classes = np.arange(number), _numbers(labels)
    elif problem_type == MULTI:
        owners, classes = pc.list_parent_indices(labels).to_numpy(), _numbers(pc.list_flatten(labels))
    place = np.zeros(number, np.int64)
    rarest_last = np.argsort(-np.bincount(classes)[classes], kind="stable")
    # Of several values for one document the last is what stays; 0 is of those without a label.
    place[owners[rarest_last]] = classes[rarest_last] + 1
    by_class = order[np.argsort(place[order], kind="stable")]
    # A share such as 0.29 of 100 is 28.999… in binary.
    until = np.floor(np.arange(number + 1) * share + 0.5 + 1e-9)
    chosen = np.zeros(number, bool)
    chosen[by_class] = np.diff(until) > 0
    _return_one_of_each(chosen, owners, classes)
    if not chosen.any() and len(classes) and np.bincount(classes).max() == 1:
        raise StrideformerError(
            f"each label has one document, so that --validation {share} leaves none to validate on: --label-column "
            f"most likely names the wrong column; if not, give more documents of each label"
        )
    if not chosen.any() or chosen.all():
        raise StrideformerError(
            f"--validation {share} of {len(documents)} documents leaves nothing to train on or to validate on: give "
            f"another share, or files"
        )
    mask = pa.array(chosen)
    return (
        replace(documents, table=documents.table.filter(pc.invert(mask))),
        replace(documents, table=documents.table.filter(mask), dropped={}),
    )


def _return_one_of_each(chosen: np.ndarray, owners: np.ndarray, classes: np.ndarray) -> None:
    """Choose a document less of each class of which all were chosen, in place.

    Args:
        chosen: (documents,) bool.
        owners, classes: of each pair of a document and one of its classes, both.
    """
    of_chosen = chosen[owners]
    there, first = np.unique(classes[of_chosen], return_index=True)
    returned = first[~np.isin(there, classes[~of_chosen])]
    chosen[owners[of_chosen][returned]] = False


def _numbers(labels: pa.Array) -> np.ndarray:
    """(labels,) int64: a number for each value."""
    return np.asarray(labels.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64))


def describe(encoding: LabelEncoding, training: LabelledDocuments, validation: LabelledDocuments) -> list[str]:
    """What a person should know of the data before training starts, as lines."""
    lines = []
    for name, documents in (("training", training), ("validation", validation)):
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(documents.dropped.items()))
        left_out = f"; {sum(documents.dropped.values())} left out ({reasons})" if reasons else ""
        lines.append(f"{name}: {len(documents)} documents{left_out}")
    lines.append(f"labels: {encoding.kind()}")
    trained = encoding.counts(encoding.encode(training.labels))
    checked = encoding.counts(encoding.encode(validation.labels))
    said = [f"  {label}: {number} in training, {checked[label]} in validation" for label, number in trained.items()]
    if len(said) > CLASSES_TOLD:
        said = [said[index] for index in np.argsort(-np.array(list(trained.values())), kind="stable")]
        half = CLASSES_TOLD // 2
        said = [*said[:half], f"  … {len(said) - 2 * half:,} classes of fewer documents than these", *said[-half:]]
    lines += said
    unchecked = [label for label, number in checked.items() if not number]
    if unchecked:
        some = ", ".join(unchecked[:10]) + (f" and {len(unchecked) - 10:,} others" if len(unchecked) > 10 else "")
        lines.append(f"no validation document has the label {some}: its quality will not be known")
    return lines
