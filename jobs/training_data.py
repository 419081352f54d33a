"""The training and validation documents that the settings name, and how their labels become numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from jobs.labelled import LabelledColumns, LabelledDocuments, describe, read_labelled, split_off
from jobs.labels import PROBLEM_TYPES, LabelEncoding, infer_problem_type
from jobs.named_datasets import read_named
from jobs.train_settings import LabelledSettings


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
    def fingerprint(self) -> str:
        """sha256 of ids, texts and labels."""
        digest = hashlib.sha256()
        for documents in (self.training, self.validation):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, documents.table.schema) as writer:
                writer.write_table(documents.table.combine_chunks())
            digest.update(sink.getvalue())
        return digest.hexdigest()


def load_data(settings: LabelledSettings, seed: int) -> TrainingData:
    """Read, split and check.

    Args:
        settings: where the documents are.
        seed: of the split.

    Raises:
        StrideformerError: the documents cannot be read, or their labels do not suit.
    """
    problem_type = PROBLEM_TYPES.get(settings.problem_type)
    if settings.dataset is not None:
        training, validation = read_named(settings.dataset, settings.dataset_path)
    else:
        columns = LabelledColumns(
            settings.text_column,
            settings.label_column,
            settings.pair_column,
            settings.id_column,
            settings.missing_label,
        )
        training = read_labelled(settings.train, columns, settings.storage_option, settings.format)
        share = settings.validation_share
        if share is None:
            files = [part.strip() for part in (settings.validation or "").split(",")]
            validation = read_labelled(files, columns, settings.storage_option, settings.format)
        else:
            kind = problem_type or infer_problem_type(training.labels.type)
            training, validation = split_off(training, share, seed, kind)
    encoding = LabelEncoding.of(training.labels, problem_type)
    return TrainingData(training, validation, encoding, describe(encoding, training, validation))
