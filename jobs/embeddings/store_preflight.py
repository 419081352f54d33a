"""What can be wrong with a call of classify over a store of embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.corpus.storage_errors import require_writable
from jobs.embeddings.embed_preflight import encoder_of_checkpoint
from jobs.embeddings.store import EmbeddingStore
from jobs.model_source import ModelSource
from jobs.output.commit import TEMPORARY_FOLDER, labelled_schema
from jobs.preflight import check_apart, kept_names
from jobs.settings import ClassifySettings
from jobs.stages.aggregate import label_type, scores_type
from jobs.stages.chunk import Chunking
from jobs.stored_model import local_model
from strideformer.encoder_identity import EncoderIdentity
from strideformer.errors import StrideformerError
from strideformer.locations import checkpoint_folder
from strideformer.predictions import LabelSpace


@dataclass(frozen=True)
class CheckedStore:
    """What preflight found of a store and the model that is to label it.

    Attributes:
        store: the store.
        kept: new name of each kept column, by its name in the store.
        model: the checkpoint's aggregator, without its encoder.
        chunking: how the store's documents were cut.
        output_schema: of every labelled part.
        fingerprint: what must be the same for a job to be resumed.
        bags: whether the model reads which tokens a document has.
    """

    store: EmbeddingStore
    kept: Mapping[str, str]
    model: ModelSource
    chunking: Chunking
    output_schema: pa.Schema
    fingerprint: dict[str, Any]
    bags: bool


def check(settings: ClassifySettings) -> CheckedStore:
    """Check a call in the order of what is cheapest to find wrong.

    Raises:
        StrideformerError: the first thing that is wrong, in one sentence.
    """
    assert settings.embeddings is not None
    kept = kept_names(settings.keep_columns)
    store = EmbeddingStore.open(settings.embeddings, settings.storage_option)
    sources = [part.file.source for part in store.parts]
    check_apart(settings.output, [settings.embeddings], sources, settings.storage_option)
    for name in kept:
        if name not in store.kept.names:
            known = ", ".join(map(repr, store.kept.names)) or "none"
            raise StrideformerError(
                f"--keep-columns {name}: the store {store.url} keeps no such column (it keeps {known}): "
                f"leave it out, or embed again with --keep-columns"
            )
    require_writable(settings.output, settings.storage_option, TEMPORARY_FOLDER)

    folder, _ = checkpoint_folder(local_model(settings.model, settings.storage_option))

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    encoder, config, _ = encoder_of_checkpoint(folder, settings.max_length, settings.stride, settings.max_chunks)
    require_same_encoder(store, encoder, settings.model)
    if config.bag_of_tokens:
        store.require_bags(settings.model)
    labels = LabelSpace.of(config)
    kept_output = pa.schema([pa.field(new, store.kept.field(name).type) for name, new in kept.items()])
    model = ModelSource.of_aggregator(folder)
    return CheckedStore(
        store=store,
        kept=kept,
        model=model,
        chunking=Chunking(encoder.max_length, encoder.stride, encoder.max_chunks),
        output_schema=labelled_schema(label_type(labels), scores_type(labels), kept_output),
        fingerprint=_fingerprint(settings, store, model),
        bags=config.bag_of_tokens,
    )


def require_same_encoder(store: EmbeddingStore, encoder: EncoderIdentity, model: str) -> None:
    """Refuse vectors of another encoder, or of documents cut otherwise, than those the model was trained on.

    Raises:
        StrideformerError: names the first thing that differs, in the store and in the model.
    """
    difference = store.encoder.difference(encoder)
    if difference is not None:
        name, theirs, ours = difference
        raise StrideformerError(
            f"the embeddings in {store.url} are not those of {model}: {name} is {theirs} in the store and {ours} in "
            f"the model; embed again with --model {model}"
        )


def _fingerprint(settings: ClassifySettings, store: EmbeddingStore, model: ModelSource) -> dict[str, Any]:
    """What decides the result: the aggregator, the columns, and which parts of which sizes."""
    listing = hashlib.sha256()
    for part in store.parts:
        listing.update(f"{part.file.source}\0{part.file.size}\0{part.receipt.to_json()}\n".encode())
    return {
        "model": model.fingerprint,
        "embeddings": store.encoder.hash,
        "keep_columns": settings.keep_columns,
        "limit": settings.limit,
        "number_of_parts": len(store.parts),
        "listing_of_parts": listing.hexdigest(),
    }
