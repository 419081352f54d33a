"""The train job, first version: an aggregator over a frozen encoder, on one machine.

``python -m jobs.train TRAIN.parquet CHECKPOINT --validation FILE --encoder ENCODER``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoConfig

from jobs.cli import run_command
from jobs.corpus.columns import InputColumns
from jobs.corpus.listing import list_inputs
from jobs.corpus.plan import make_plan
from jobs.corpus.read import read_shard
from jobs.settings import TrainSettings
from strideformer import ChunkEncoder, Strideformer, StrideformerConfig
from strideformer.checkpoint import resolve_encoder
from strideformer.encoder import load_tokenizer
from strideformer.errors import StrideformerError
from strideformer.pooling import sentence_transformer_pooling
from strideformer.training import EmbeddedDocuments, TrainingOptions, join, train_aggregator

# Embedding is told of after this many documents.
DOCUMENTS_BETWEEN_LINES = 50


def run(settings: TrainSettings) -> float:
    """Embed, train, save. Returns the best validation accuracy."""
    output = Path(settings.output)
    if output.exists():
        raise StrideformerError(f"output {output} exists: choose a folder that does not")
    texts, labels = read_labelled(settings.inputs, settings)
    validation_texts, validation_labels = read_labelled([settings.validation], settings)
    names = sorted(set(labels))
    unseen = sorted(set(validation_labels) - set(names))
    if unseen:
        raise StrideformerError(f"validation has labels that training has not: {', '.join(unseen)}")

    folder = resolve_encoder(settings.encoder)
    pooling, normalize = sentence_transformer_pooling(folder)
    first_model_config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config = StrideformerConfig.from_two_configs(
        first_model_config=first_model_config,
        second_model_config={
            **settings.model_dump(include=set(MODEL_FIELDS)),
            "hidden_size": first_model_config.hidden_size,
            "chunk_pooling": pooling,
            "normalize_embeddings": normalize,
            "first_model_name": settings.encoder,
            "problem_type": "single_label_classification",
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        },
    )
    torch.manual_seed(settings.seed)
    model = Strideformer(config)
    encoder = ChunkEncoder.from_pretrained(
        folder, max_length=settings.max_length, stride=settings.stride, max_chunks=settings.max_chunks
    )
    training = embed(encoder, texts, labels, names, "training")
    validation = embed(encoder, validation_texts, validation_labels, names, "validation")
    options = TrainingOptions(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    accuracy = train_aggregator(
        model,
        training,
        validation,
        options,
        lambda epoch, loss, share: print(f"epoch {epoch + 1}: loss {loss:.4f}, validation accuracy {share:.4f}"),
    )
    model.save_pretrained(output, include_first_model=False)
    load_tokenizer(folder).save_pretrained(output)
    # Without paths, which say nothing elsewhere and something of whoever trained it.
    used = settings.model_dump(exclude={"inputs", "output", "validation"})
    record = {"settings": used, "documents": len(texts), "validation_accuracy": accuracy}
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"validation accuracy {accuracy:.4f}; the checkpoint is in {output}")
    return accuracy


MODEL_FIELDS = (
    "max_length",
    "stride",
    "max_chunks",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "dropout",
    "document_pooling",
    "chunk_positions",
)


def read_labelled(inputs: Sequence[str], settings: TrainSettings) -> tuple[list[str], list[str]]:
    """Texts and labels of a corpus.

    Raises:
        StrideformerError: a document has no usable text or no label.
    """
    columns = InputColumns(text=settings.text_column, keep=(settings.label_column,))
    plan = make_plan(list_inputs(inputs, {}, None), columns, {})
    kept = pa.schema([(settings.label_column, pa.string())])
    tables = [
        read_shard(plan.filter(pa.compute.equal(plan.column("shard"), shard)), columns, kept, {})
        for shard in sorted(set(plan.column("shard").to_pylist()))
    ]
    documents = pa.concat_tables(tables)
    for name, what in (("quarantine_reason", "no usable text"), (settings.label_column, "no label")):
        column = documents.column(name)
        wrong = pa.compute.indices_nonzero(column.is_valid() if name == "quarantine_reason" else column.is_null())
        if len(wrong):
            doc_id = documents.column("doc_id")[wrong[0].as_py()]
            raise StrideformerError(f"{len(wrong)} documents have {what}, the first is {doc_id}: leave them out")
    return documents.column("_text").to_pylist(), documents.column(settings.label_column).to_pylist()


def embed(
    encoder: ChunkEncoder, texts: Sequence[str], labels: Sequence[str], names: Sequence[str], what: str
) -> EmbeddedDocuments:
    """Chunk vectors of documents, in float16 as the classify job rounds them."""
    vectors: list[np.ndarray] = []
    started = time.monotonic()
    for start in range(0, len(texts), DOCUMENTS_BETWEEN_LINES):
        encoded = encoder.encode(texts[start : start + DOCUMENTS_BETWEEN_LINES])
        vectors += [rows.astype(np.float16) for rows in encoded]
        seconds = time.monotonic() - started
        print(f"embedded {len(vectors)}/{len(texts)} {what} documents in {seconds:.0f} s", file=sys.stderr)
    index = {name: position for position, name in enumerate(names)}
    return join(vectors, torch.tensor([index[label] for label in labels]))


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.train``."""
    return run_command("train", TrainSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
