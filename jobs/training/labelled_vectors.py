"""Chunk vectors of labelled documents, out of stores of embeddings in place of an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from jobs.corpus.labels import LEAVE_ONE, MAKE_ANEW, require_unique
from jobs.embeddings.store import WITHOUT_BAGS, EmbeddingStore
from jobs.training.labelled import STORED, LabelledColumns, LabelledDocuments, read_labelled, usable
from strideformer.encoder_identity import EncoderIdentity
from strideformer.errors import StrideformerError
from strideformer.token_bags import TokenBags
from strideformer.training import EmbeddedDocuments

# A labelled document that the stores do not have: they quarantined it, or are of another corpus.
NOT_IN_STORE = "not_in_store"


@dataclass(frozen=True)
class StoredVectors:
    """The documents of one store, or of several of one encoder.

    Attributes:
        where: the stores, for messages.
        encoder: what made the vectors.
        chunk_vectors: (num_chunks, hidden_size) float16, all documents one after the other.
        chunk_offsets: (num_documents + 1,) int64.
        columns: ``doc_id`` and the columns asked for, one row a document.
        bags: the documents' tokens; None where a store was made without.
    """

    where: str
    encoder: EncoderIdentity
    chunk_vectors: np.ndarray
    chunk_offsets: np.ndarray
    columns: pa.Table
    bags: TokenBags | None = None

    def of(self, documents: LabelledDocuments, labels: torch.Tensor, bags: bool = False) -> EmbeddedDocuments:
        """The vectors of some documents, in their order, as training takes them.

        Args:
            documents: these.
            labels: theirs.
            bags: with their tokens.

        Raises:
            StrideformerError: a store was made without them.
        """
        if bags and self.bags is None:
            raise StrideformerError(WITHOUT_BAGS.format(where=self.where, model="the model"))
        rows = documents.table.column(STORED).to_numpy()
        counts = np.diff(self.chunk_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        chunks = np.arange(offsets[-1]) + np.repeat(self.chunk_offsets[rows] - offsets[:-1], counts)
        of_tokens = self.bags.take(rows) if bags and self.bags is not None else None
        return EmbeddedDocuments(torch.from_numpy(self.chunk_vectors[chunks]), offsets, labels, of_tokens)


def open_vectors(urls: Sequence[str], options: Mapping[str, str], columns: Sequence[str] = ()) -> StoredVectors:
    """Read stores of the embed job.

    Args:
        urls: of the stores.
        options: storage options.
        columns: kept ones to read beside the vectors.

    Raises:
        StrideformerError: one cannot be read, has no such column, or is of another encoder than the first.
    """
    stores = [EmbeddingStore.open(url, options) for url in urls]
    for store in stores[1:]:
        require_one_encoder(stores[0].encoder, stores[0].url, store.encoder, store.url)
    bags = all(store.has_bags for store in stores)
    found = [store.documents(columns, bags) for store in stores]
    counts = np.concatenate([np.diff(documents.chunk_offsets) for documents in found])
    return StoredVectors(
        where=", ".join(urls),
        encoder=stores[0].encoder,
        chunk_vectors=found[0].chunk_vectors if len(found) == 1 else np.concatenate([f.chunk_vectors for f in found]),
        chunk_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=pa.concat_tables([documents.columns for documents in found]),
        bags=TokenBags.join([documents.bags for documents in found if documents.bags is not None]) if bags else None,
    )


def require_one_encoder(first: EncoderIdentity, where: str, other: EncoderIdentity, elsewhere: str) -> None:
    """Refuse vectors of two encoders in one training.

    Raises:
        StrideformerError: names the first thing that differs.
    """
    difference = first.difference(other)
    if difference is not None:
        name, ours, theirs = difference
        raise StrideformerError(
            f"the embeddings in {where} and {elsewhere} are of two encoders: {name} is {ours} in the first and "
            f"{theirs} in the second; embed both with the same --model and settings"
        )


def labelled_by_id(
    inputs: Sequence[str], vectors: StoredVectors, columns: LabelledColumns, options: Mapping[str, str], form: str
) -> LabelledDocuments:
    """Labelled files whose documents' vectors lie in a store, matched by id; the files need not have the text.

    Raises:
        StrideformerError: the files cannot be used, an id stands twice in them or in the stores, or none is in both.
    """
    require_unique(vectors.columns.column("doc_id"), vectors.where, MAKE_ANEW)
    labelled = read_labelled(inputs, columns, options, form, needs_text=False)
    require_unique(labelled.table.column("doc_id"), ", ".join(inputs), LEAVE_ONE)
    ids = vectors.columns.column("doc_id").combine_chunks()
    positions = pc.index_in(labelled.table.column("doc_id"), value_set=ids)
    absent = positions.null_count
    if absent == len(labelled):
        raise StrideformerError(
            f"no id of {', '.join(inputs)} (such as {labelled.table.column('doc_id')[0].as_py()!r}) is in "
            f"{vectors.where} (such as {ids[0].as_py()!r}): check --id-column"
        )
    table = labelled.table.append_column(STORED, positions.cast(pa.int64())).filter(positions.is_valid())
    dropped = dict(labelled.dropped) | ({NOT_IN_STORE: absent} if absent else {})
    return replace(labelled, table=table, dropped=dropped, vectors=vectors)


def labelled_in_store(urls: Sequence[str], columns: LabelledColumns, options: Mapping[str, str]) -> LabelledDocuments:
    """Documents of stores that kept the label, and the text perhaps, beside the vectors.

    Raises:
        StrideformerError: a store kept no such label, or none has a document with one.
    """
    texts = [name for name in (columns.text, columns.pair) if name is not None]
    if columns.label not in (kept := EmbeddingStore.open(urls[0], options).kept.names):
        raise StrideformerError(
            f"{urls[0]} keeps no column {columns.label!r} (it keeps {', '.join(map(repr, kept)) or 'none'}): name "
            f"another with --label-column, give files with ids and labels as --train, or embed again with "
            f"--keep-columns {columns.label}"
        )
    texts = texts if set(texts) <= set(kept) else []
    vectors = open_vectors(urls, options, [columns.label, *texts])
    table = vectors.columns.select(["doc_id", columns.label])
    for name, text in zip(("_text", "_text_pair"), texts, strict=False):
        table = table.append_column(name, vectors.columns.column(text).cast(pa.large_string()))
    rows = len(table)
    table = table.append_column(STORED, pa.array(np.arange(rows)))
    table = table.append_column("quarantine_reason", pa.nulls(rows, pa.string()))
    return replace(usable(table, columns, urls), vectors=vectors)
