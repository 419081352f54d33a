"""What can be wrong is found before any actor starts: input, columns, model, chunking, output."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
from tokenizers import Tokenizer

from jobs.corpus.columns import InputColumns
from jobs.corpus.filesystems import storage_of
from jobs.corpus.listing import InputFile, list_inputs, would_find
from jobs.corpus.plan import check_columns
from jobs.corpus.storage import join, resolve, url_of
from jobs.corpus.storage_errors import require_writable
from jobs.model_facts import model_facts
from jobs.model_source import ModelSource
from jobs.output.commit import OWN_COLUMNS, TEMPORARY_FOLDER, labelled_schema, part_name
from jobs.settings import ClassifySettings, InputSettings, ModelSettings, ShardedSettings
from jobs.stages.aggregate import label_type, scores_type
from jobs.stages.chunk import Chunking
from jobs.stored_model import local_model
from strideformer.chunking import Chunker, check_length
from strideformer.early_exit import refuse_confidence
from strideformer.errors import StrideformerError
from strideformer.locations import checkpoint_folders
from strideformer.predictions import LabelSpace


@dataclass(frozen=True)
class CheckedCorpus:
    """What was found of the input.

    Attributes:
        files: the input files, sorted by source.
        columns: which columns of theirs are read.
        kept: new name of each kept column, by its name in the input.
        kept_schema: names and types of the kept columns in the input.
    """

    files: list[InputFile]
    columns: InputColumns
    kept: Mapping[str, str]
    kept_schema: pa.Schema

    @property
    def kept_output(self) -> pa.Schema:
        """Names and types of the kept columns in the output."""
        return pa.schema([pa.field(self.kept[field.name], field.type) for field in self.kept_schema])


@dataclass(frozen=True)
class Checked(CheckedCorpus):
    """What preflight found, all that the job goes on with.

    Attributes:
        model: the checkpoint, and its encoder where it was saved without; of the embed job also a bare encoder.
        output_schema: of every part.
        fingerprint: what must be the same for a job to be resumed.
    """

    model: ModelSource
    chunking: Chunking
    output_schema: pa.Schema
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class CheckedModel:
    """What was found of a checkpoint.

    Attributes:
        chunking: as the settings ask, and where they do not as the checkpoint was trained.
        own: as it was trained.
    """

    model: ModelSource
    chunking: Chunking
    own: Chunking
    labels: LabelSpace


def check_corpus(settings: ShardedSettings, own_columns: Sequence[str]) -> CheckedCorpus:
    """Check input, columns and output in the order of what is cheapest to find wrong.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    columns, kept = input_columns(settings, own_columns)
    files = list_files(settings)
    check_apart(settings.output, settings.inputs, [file.source for file in files], settings.storage_option)
    kept_schema = check_columns(files, columns, settings.storage_option, settings.on_bad_file)
    require_writable(settings.output, settings.storage_option, TEMPORARY_FOLDER)
    return CheckedCorpus(files, columns, kept, kept_schema)


def check_input(settings: InputSettings, own_columns: Sequence[str]) -> CheckedCorpus:
    """The same of what is only read.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    columns, kept = input_columns(settings, own_columns)
    files = list_files(settings)
    kept_schema = check_columns(files, columns, settings.storage_option, settings.on_bad_file)
    return CheckedCorpus(files, columns, kept, kept_schema)


def input_columns(settings: InputSettings, own_columns: Sequence[str]) -> tuple[InputColumns, dict[str, str]]:
    """The columns to read, and the new name of each kept one by its name in the input.

    Raises:
        StrideformerError: as `kept_names`.
    """
    kept = kept_names(settings.keep_columns, own_columns)
    columns = InputColumns(
        text=settings.text_column, pair=settings.pair_column, id=settings.id_column, keep=tuple(kept)
    )
    return columns, kept


def list_files(settings: InputSettings) -> list[InputFile]:
    """The files behind the settings' inputs.

    Raises:
        StrideformerError: as `list_inputs`.
    """
    forced = None if settings.format == "auto" else settings.format
    return list_inputs(settings.inputs, settings.storage_option, forced)


def check(settings: ClassifySettings) -> Checked:
    """Check a call of the classify job in the order of what is cheapest to find wrong.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    corpus = check_corpus(settings, OWN_COLUMNS)
    model = local_model(settings.model, settings.storage_option)
    found = check_model(model, settings, settings.dtype, pair=settings.pair_column is not None)
    if settings.early_exit is not None:
        refuse_confidence(settings.early_exit, found.labels)
    return Checked(
        **vars(corpus),
        model=found.model,
        chunking=found.chunking,
        output_schema=labelled_schema(label_type(found.labels), scores_type(found.labels), corpus.kept_output),
        fingerprint=fingerprint(settings, corpus.files, found.model, found.chunking)
        | {"early_exit": settings.early_exit},
    )


def check_model(model: str, settings: ModelSettings, dtype: str, pair: bool) -> CheckedModel:
    """Check the checkpoint, and the chunking that is asked of it.

    Args:
        model: as it is called on this machine.
        settings: of it, and of how it is to read.
        dtype: that its encoder is to run in.
        pair: whether the documents are pairs.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    folders = checkpoint_folders(model)
    facts = model_facts(folders)
    chunking = Chunking(
        settings.max_length or facts.max_length,
        facts.stride if settings.stride is None else settings.stride,
        settings.max_chunks or facts.max_chunks,
    )
    check_length(chunking.max_length, facts.positions)
    check_packed(dtype, facts.packed, settings.model)
    tokenizer = Tokenizer.from_str(facts.tokenizer)
    chunker = Chunker(tokenizer, chunking.max_length, chunking.stride, chunking.max_chunks)
    chunker.template(pair)
    own = Chunking(facts.max_length, facts.stride, facts.max_chunks)
    return CheckedModel(ModelSource.of(folders, facts.tokenizer), chunking, own, facts.label_space)


def check_packed(dtype: str, packed: bool, model: str) -> None:
    """Refuse int8 of an encoder that it is not made for.

    Raises:
        StrideformerError: says which ones it is for.
    """
    if dtype == "int8" and not packed:
        raise StrideformerError(
            f"dtype int8 is for encoders of the kinds of BERT, RoBERTa, DistilBERT and MPNet, and that of {model} is "
            f"another: use auto"
        )


def kept_names(keep_columns: Sequence[str], own_columns: Sequence[str] = OWN_COLUMNS) -> dict[str, str]:
    """``["a", "label:truth"]`` to ``{"a": "a", "label": "truth"}``.

    Raises:
        StrideformerError: a name is used twice, or is one of the output's own.
    """
    kept: dict[str, str] = {}
    for entry in keep_columns:
        name, _, renamed = entry.partition(":")
        new = renamed or name
        if new in own_columns:
            raise StrideformerError(
                f"--keep-columns {entry}: the output has a column {new!r} of its own, so keep it under another "
                f"name, such as {name}:input_{name}"
            )
        if new.startswith(("_", "quarantine_")):
            raise StrideformerError(
                f"--keep-columns {entry}: names that start with _ or quarantine_ are the job's own, so keep it "
                f"under another name, such as {name}:input_{name.strip('_')}"
            )
        if name in kept or new in kept.values():
            raise StrideformerError(f"--keep-columns names {new!r} twice: name it once")
        kept[name] = new
    return kept


def check_apart(output: str, inputs: Sequence[str], sources: Sequence[str], options: Mapping[str, str]) -> None:
    """Refuse an output folder that holds the input, or lies where the input is looked for: the next run, or this one
    when it is resumed, would read this one's result. What begins with ``_`` or ``.`` is not looked for.

    Args:
        output: the folder.
        inputs: as they were named.
        sources: the files that were found.
        options: storage options.

    Raises:
        StrideformerError: the one or the other.
    """
    root = folder_url(output, options)
    roots = (_one_name(root), os.path.realpath(root) + "/") if storage_of(output) == "file" else (_one_name(root),)
    real = lru_cache(os.path.realpath)  # of the folders of sources
    for source in sources:
        linked = storage_of(source) == "file" and f"{real(posixpath.dirname(source))}/".startswith(roots)
        if linked or _one_name(source).startswith(roots):
            raise StrideformerError(f"output {output} holds the input {source}: choose a folder apart from it")
    part = join(resolve(output, options)[1], part_name(0))
    for name in inputs:
        if storage_of(name) == storage_of(output) and would_find(name, options, part):
            raise StrideformerError(
                f"output {output} lies in the input {name}, so that another run would read it: choose a folder apart "
                f"from it"
            )


def _one_name(url: str) -> str:
    return url if "://" not in url else storage_of(url) + url[url.index("://") :]


def folder_url(url: str, options: Mapping[str, str]) -> str:
    """A folder as the sources below it begin."""
    return url_of(*resolve(url, options), url).rstrip("/") + "/"


def fingerprint(
    settings: ShardedSettings, files: Sequence[InputFile], model: ModelSource, chunking: Chunking
) -> dict[str, Any]:
    """What decides a job's result: model, chunking, columns, and which files of which size and time.

    Floating-point formats may change when a job is resumed, on another kind of node, but int8 and others do not mix.
    """
    listing = hashlib.sha256()
    for file in files:
        listing.update(f"{file.source}\0{file.size}\0{file.modified}\n".encode())
    return {
        "model": model.fingerprint,
        "max_length": chunking.max_length,
        "stride": chunking.stride,
        "max_chunks": chunking.max_chunks,
        "int8": True if settings.dtype == "int8" else None,
        "text_column": settings.text_column,
        "pair_column": settings.pair_column,
        "id_column": settings.id_column,
        "keep_columns": settings.keep_columns,
        "limit": settings.limit,
        "number_of_input_files": len(files),
        "input_bytes": sum(file.size for file in files),
        "input_listing": listing.hexdigest(),
    }
