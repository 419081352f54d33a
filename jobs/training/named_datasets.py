"""Data sets of the Hugging Face hub that are known by name, read with ``datasets`` from the hub or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.training.labelled import LabelledColumns, LabelledDocuments, usable
from strideformer.errors import StrideformerError


@dataclass(frozen=True)
class NamedDataset:
    """Where a data set is and what is in it.

    Attributes:
        repository: on the hub.
        configuration: one of the repository's, where it has several.
        columns: of its files. ``missing`` is the class number of rows without a label.
        classes: their names by number, where the files do not carry them.
    """

    repository: str
    configuration: str | None
    columns: LabelledColumns
    classes: tuple[str, ...]


# The two of the examples of 0.2.0. The class names are those of the data sets' own cards.
NAMED: Mapping[str, NamedDataset] = {
    "arxiv-classification": NamedDataset(
        "ccdv/arxiv-classification",
        "no_ref",
        LabelledColumns(text="text", label="label"),
        (
            *("math.AC", "cs.CV", "cs.AI", "cs.SY", "math.GR", "cs.CE"),
            *("cs.PL", "cs.IT", "cs.DS", "cs.NE", "math.ST"),
        ),
    ),
    "health_fact": NamedDataset(
        "ImperialCollegeLondon/health_fact",
        None,
        LabelledColumns(text="claim", label="label", pair="main_text", missing="-1"),
        ("false", "mixture", "true", "unproven"),
    ),
}

SPLITS = ("train", "validation")
# What a folder may hold, by the first that it has: the builder of ``datasets`` and the files' extension.
BUILDERS = (("parquet", "parquet"), ("csv", "csv"), ("json", "jsonl"), ("json", "json"))


def read_named(name: str, folder: str | None = None) -> tuple[LabelledDocuments, LabelledDocuments]:
    """Training and validation documents of a data set.

    Args:
        name: one of ``NAMED``.
        folder: that holds ``train*`` and ``validation*`` files of its schema, Parquet, CSV or JSON Lines; None asks
            the hub. No code of the hub is run.

    Raises:
        StrideformerError: ``datasets`` is not installed, or the data set is not to be had.
    """
    if find_spec("datasets") is None:
        raise StrideformerError("--dataset needs the datasets package: pip install 'strideformer[train]'")
    known = NAMED[name]
    try:
        found = _of_hub(known) if folder is None else _of_folder(Path(folder))
    except Exception as error:  # huggingface_hub, fsspec, httpx and datasets each have their own
        where = folder or f"the hub ({known.repository})"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StrideformerError(
            f"the data set {name} cannot be read from {where} ({reason}): give a folder of its files, train* and "
            f"validation*, with --dataset-path"
        ) from error
    return _documents(found["train"], known, f"{name}/train"), _documents(
        found["validation"], known, f"{name}/validation"
    )


def _of_folder(folder: Path) -> Any:
    import datasets

    for builder, extension in BUILDERS:
        files = {split: sorted(map(str, folder.glob(f"{split}*.{extension}"))) for split in SPLITS}
        if all(files.values()):
            return datasets.load_dataset(builder, data_files=files)
    raise FileNotFoundError(f"no train* and validation* files of {', '.join(end for _, end in BUILDERS)}")


def _of_hub(known: NamedDataset) -> Any:
    import datasets

    try:
        return datasets.load_dataset(known.repository, known.configuration)
    except RuntimeError:  # the repository has a script, which datasets no longer runs: the hub's own conversion, then
        place = f"hf://datasets/{known.repository}@refs%2Fconvert%2Fparquet/{known.configuration or 'default'}"
        files = {split: f"{place}/{split}/*.parquet" for split in SPLITS}
        return datasets.load_dataset("parquet", data_files=files)


def _documents(split: Any, known: NamedDataset, source: str) -> LabelledDocuments:
    columns = known.columns
    absent = [name for name in (columns.text, columns.pair, columns.label) if name and name not in split.column_names]
    if absent:
        raise StrideformerError(f"{source} has no column {absent[0]!r}: it has {', '.join(split.column_names)}")
    table = split.with_format("arrow")[:]
    text = table.column(columns.text).cast(pa.large_string())
    rows = {"doc_id": pa.array([f"{source}#{row}" for row in range(len(text))]), "_text": text}
    readable = _has_text(text)
    if columns.pair is not None:
        rows["_text_pair"] = table.column(columns.pair).cast(pa.large_string())
        readable = pc.and_(readable, _has_text(rows["_text_pair"]))
    names = getattr(split.features[columns.label], "names", None) or known.classes
    try:
        number = table.column(columns.label).cast(pa.int64())  # floats where a cell of a CSV file is empty
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StrideformerError(
            f"{source}: column {columns.label!r} holds {table.column(columns.label).type} that are no whole numbers "
            f"({str(error).splitlines()[0]}): give classes by their number, or the files as --train and --validation"
        ) from error
    # A take with a null index is null, which is no label.
    in_range = pc.and_(pc.greater_equal(number, 0), pc.less(number, len(names)))
    index = pc.if_else(in_range, number, pa.scalar(None, number.type))
    rows[columns.label] = pa.chunked_array([pa.array(names, pa.string()).take(index.combine_chunks())])
    rows["quarantine_reason"] = pc.if_else(readable, pa.scalar(None, pa.string()), "empty_text")
    return usable(pa.table(rows), LabelledColumns(columns.text, columns.label, columns.pair), [source])


def _has_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False)
