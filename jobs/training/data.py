"""The training and validation documents that the settings name, and how their labels become numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.train_settings import LabelledSettings
from jobs.training.labelled import LabelledColumns, LabelledDocuments, describe, read_labelled, split_off
from jobs.training.labelled_vectors import labelled_by_id, labelled_in_store, open_vectors, require_one_encoder
from jobs.training.labels import PROBLEM_TYPES, LabelEncoding, choose_problem_type
from jobs.training.named_datasets import read_named
from strideformer.encoder_identity import EncoderIdentity
from strideformer.errors import StrideformerError


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Attributes:
        training, validation: the documents.
        encoding: of the labels of both.
        lines: what a person should know of them before training starts.
    """

    training: LabelledDocuments
    validation: LabelledDocuments
    encoding: LabelEncoding
    lines: list[str]

    @property
    def encoder(self) -> EncoderIdentity | None:
        """What made the vectors of the documents, where they come from stores."""
        return None if self.training.vectors is None else self.training.vectors.encoder

    @property
    def have_texts(self) -> bool:
        """Whether all documents have theirs, of which those of stores may have none."""
        return self.training.have_texts and self.validation.have_texts

    @property
    def fingerprint(self) -> str:
        """sha256 of ids, texts, labels, and of the vectors of stores."""
        digest = hashlib.sha256()
        for documents in (self.training, self.validation):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, documents.table.schema) as writer:
                writer.write_table(documents.table.combine_chunks())
            digest.update(sink.getvalue())
            if documents.vectors is not None:
                digest.update(documents.vectors.encoder.hash.encode())
                digest.update(np.ascontiguousarray(documents.vectors.chunk_vectors).data)
        return digest.hexdigest()


def load_data(settings: LabelledSettings, seed: int, encoding: LabelEncoding | None = None) -> TrainingData:
    """Read, split and check.

    Args:
        settings: where the documents are.
        seed: of the split.
        encoding: of the labels, where a checkpoint has them; else it is made of those of training.

    Raises:
        StrideformerError: the documents cannot be read, or their labels do not suit.
    """
    problem_type = PROBLEM_TYPES.get(settings.problem_type)
    if encoding is not None:
        if problem_type not in (None, encoding.problem_type):
            raise StrideformerError(
                f"--problem-type {settings.problem_type}: {encoding.checkpoint} is of {encoding.problem_type}: leave "
                f"it out"
            )
        problem_type = encoding.problem_type
    if settings.dataset is not None:
        training, validation = read_named(settings.dataset, settings.dataset_path)
    else:
        read = _from_stores(settings) if settings.embeddings else _from_files(settings)
        training = read(settings.train)
        if settings.validation_share is None:
            validation = read([part.strip() for part in (settings.validation or "").split(",")])
        else:
            problem_type = choose_problem_type(training.labels, problem_type)
            training, validation = split_off(training, settings.validation_share, seed, problem_type)
    encoding = encoding or LabelEncoding.of(training.labels, problem_type)
    return TrainingData(training, validation, encoding, describe(encoding, training, validation))


def _columns(settings: LabelledSettings) -> LabelledColumns:
    return LabelledColumns(
        settings.text_column, settings.label_column, settings.pair_column, settings.id_column, settings.missing_label
    )


def _from_files(settings: LabelledSettings) -> Callable[[Sequence[str]], LabelledDocuments]:
    def read(files: Sequence[str]) -> LabelledDocuments:
        return read_labelled(files, _columns(settings), settings.storage_option, settings.format)

    return read


def _from_stores(settings: LabelledSettings) -> Callable[[Sequence[str]], LabelledDocuments]:
    """Files with ids and labels, of documents in the stores; or, of no files, the labels that the stores kept."""
    options = settings.storage_option
    if settings.train:
        vectors = open_vectors(settings.embeddings, options)
        return lambda files: labelled_by_id(files, vectors, _columns(settings), options, settings.format)
    first: list[LabelledDocuments] = []

    def read(stores: Sequence[str]) -> LabelledDocuments:
        documents = labelled_in_store(stores or settings.embeddings, _columns(settings), options)
        first.append(documents)
        ours, theirs = first[0].vectors, documents.vectors
        assert ours is not None
        assert theirs is not None
        require_one_encoder(ours.encoder, ours.where, theirs.encoder, theirs.where)
        return documents

    return read
