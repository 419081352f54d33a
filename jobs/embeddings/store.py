"""A store of chunk vectors, as the embed job leaves it, opened for reading. It needs no Ray.

``EmbeddingStore.open(url).documents(["label"])`` gives every document's vectors for training or evaluation.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.corpus.listing import InputFile, list_inputs
from jobs.corpus.storage import open_input, resolve, url_of
from jobs.corpus.storage_errors import storage_error
from jobs.output.commit import EMBEDDED_COLUMNS
from jobs.output.receipt import RECEIPT_KEY, Receipt, add_up
from jobs.output.record import PART, OutputFolder
from jobs.stages.columns import BAG_COLUMNS, flat, read_bags
from strideformer.encoder_identity import EncoderIdentity
from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from torch import Tensor

    from strideformer.token_bags import TokenBags
    from strideformer.training import EmbeddedDocuments

ENCODER_KEY = b"strideformer.encoder"
FOOTER_THREADS = 32  # footers are small and their reading is all latency
WITHOUT_BAGS = (
    "the embeddings in {where} were made before stores kept which tokens a document has, and {model} reads them: "
    "embed again, or train with --aggregator bag_of_tokens=false"
)
PART_THREADS = 4  # parts read at once: each is tens of MB


def said_of_encoder(encoder: EncoderIdentity) -> dict[str, Any]:
    """How a store names its encoder in ``job.json`` and ``_SUCCESS``; every part's footer has the hash."""
    return {"encoder": encoder.to_dict(), "encoder_hash": encoder.hash}


@dataclass(frozen=True)
class StoredDocuments:
    """Documents of a store, in the order of the corpus; those in its quarantine are not among them.

    Attributes:
        chunk_vectors: (num_chunks, hidden_size) float16, all documents one after the other.
        chunk_offsets: (num_documents + 1,) int64.
        columns: doc_id and the columns asked for, one row a document.
        bags: the documents' tokens, where they were asked for.
    """

    chunk_vectors: np.ndarray
    chunk_offsets: np.ndarray
    columns: pa.Table
    bags: TokenBags | None = None

    def embedded(self, labels: Tensor) -> EmbeddedDocuments:
        """With their labels, as training takes them; the vectors are not copied."""
        import torch

        from strideformer.training import EmbeddedDocuments

        return EmbeddedDocuments(torch.from_numpy(self.chunk_vectors), self.chunk_offsets, labels, self.bags)


@dataclass(frozen=True)
class Part:
    """One part of a store and the receipt in its footer."""

    file: InputFile
    receipt: Receipt


@dataclass(frozen=True)
class EmbeddingStore:
    """A finished store.

    Attributes:
        url, options: where it lies.
        encoder: what made its vectors.
        schema: of every part.
        parts: in the order of the corpus.
    """

    url: str
    options: Mapping[str, str]
    encoder: EncoderIdentity
    schema: pa.Schema
    parts: tuple[Part, ...]

    @classmethod
    def open(cls, url: str, options: Mapping[str, str] | None = None) -> EmbeddingStore:
        """Read what a store says of itself, and check that all of it is there.

        Args:
            url: OUTPUT of the embed job, on any filesystem.
            options: storage options, as the jobs take them.

        Raises:
            StrideformerError: it is no store, is not finished, lacks a part, or has one of another encoder.
        """
        options = dict(options or {})
        folder = OutputFolder(url, options)
        names = folder.names()
        if "_SUCCESS" not in names:
            remedy = "finish it with --resume" if "_strideformer" in names else "make one with strideformer embed"
            raise StrideformerError(f"{url} is no finished store of embeddings: {remedy}")
        totals = folder.read_json("_SUCCESS")
        if "encoder" not in totals:
            raise StrideformerError(f"{url} holds labels, not embeddings: make a store with strideformer embed")
        encoder = EncoderIdentity.from_dict(totals["encoder"])
        here = url_of(*resolve(url, options), url).rstrip("/")
        files = [
            file
            for file in list_inputs([url], options, "parquet")
            if PART.fullmatch(posixpath.basename(file.source)) and posixpath.dirname(file.source) == here
        ]
        with ThreadPoolExecutor(FOOTER_THREADS) as pool:
            footers = list(pool.map(lambda file: _footer(file, options), files))
        parts: list[Part] = []
        for file, schema in zip(files, footers, strict=True):
            metadata = schema.metadata or {}
            if metadata.get(ENCODER_KEY) != encoder.hash.encode() or RECEIPT_KEY not in metadata:
                raise StrideformerError(
                    f"{file.source} is not of the encoder that {url}/_SUCCESS names: embed again with --overwrite"
                )
            parts.append(Part(file, Receipt.from_json(metadata[RECEIPT_KEY])))
        found = add_up(part.receipt for part in parts)
        if not parts or (len(parts), found.documents) != (totals["shards"], totals["documents"]):
            raise StrideformerError(
                f"{url} has {len(parts)} parts of {totals['shards']}: embed what is missing with --resume"
            )
        return cls(url, options, encoder, footers[0].remove_metadata(), tuple(parts))

    @property
    def hidden_size(self) -> int:
        """The width of a chunk vector."""
        return int(self.schema.field("chunk_vectors").type.value_type.list_size)

    @property
    def total(self) -> Receipt:
        """Counts of the whole store: documents, quarantined, tokens, chunks."""
        return add_up(part.receipt for part in self.parts)

    @property
    def kept(self) -> pa.Schema:
        """The columns that the embed job was told to keep."""
        return pa.schema([field for field in self.schema if field.name not in EMBEDDED_COLUMNS])

    @property
    def has_bags(self) -> bool:
        """Whether the documents' tokens are there: stores made before there were bags of tokens have none."""
        return set(BAG_COLUMNS) <= set(self.schema.names)

    def require_bags(self, model: str) -> None:
        """Refuse a store without its documents' tokens.

        Args:
            model: what reads them, for the message.

        Raises:
            StrideformerError: they are not there.
        """
        if not self.has_bags:
            raise StrideformerError(WITHOUT_BAGS.format(where=self.url, model=model))

    def documents(self, columns: Sequence[str] = (), bags: bool = False) -> StoredDocuments:
        """Every document, in memory: 2 bytes × hidden_size a chunk (126,000 chunks of 384: 97 MB).

        Args:
            columns: beside doc_id: kept columns, ``source``, ``row``, ``num_tokens``, ``chunk_starts``, …
            bags: with the documents' tokens, some 6 bytes for each token of a tenth (of long ones) to half of all.

        Raises:
            StrideformerError: the store has no such column, or a part cannot be read.
        """
        for name in columns:
            if name not in self.schema.names:
                raise StrideformerError(
                    f"{self.url} has no column {name!r}: it has {', '.join(map(repr, self.schema.names))}"
                )
        names = list(dict.fromkeys(["doc_id", *columns]))
        ends = np.cumsum([part.receipt.chunks for part in self.parts])
        vectors = np.empty((int(ends[-1]), self.hidden_size), np.float16)

        of_bags = BAG_COLUMNS if bags else ()

        def read(index: int) -> tuple[pa.Table, np.ndarray, TokenBags | None]:
            part = self.parts[index]
            table = read_part(part.file, self.options, [*names, "chunk_vectors", *of_bags])
            offsets, values = flat(table, "chunk_vectors")
            start = int(ends[index]) - part.receipt.chunks
            vectors[start : start + len(values)] = vectors_of(values)
            return table.select(names), np.diff(offsets), read_bags(table) if bags else None

        with ThreadPoolExecutor(PART_THREADS) as pool:
            tables, counts, found = zip(*pool.map(read, range(len(self.parts))), strict=True)
        chunk_offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
        return StoredDocuments(vectors, chunk_offsets, pa.concat_tables(tables), _joined(found) if bags else None)


def _joined(bags: Sequence[TokenBags]) -> TokenBags:
    from strideformer.token_bags import TokenBags

    return TokenBags.join(bags)


def vectors_of(values: pa.FixedSizeListArray) -> np.ndarray:
    """Flat vectors as (num_chunks, hidden_size) float16."""
    numbers: np.ndarray = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, values.type.list_size)
    return numbers


def read_part(file: InputFile, options: Mapping[str, str], columns: Sequence[str]) -> pa.Table:
    """Columns of a part, with its footer's metadata.

    Raises:
        StrideformerError: it cannot be read, or is another than when the store was opened.
    """
    try:
        filesystem, path = resolve(file.source, options)
        with open_input(filesystem, path) as opened:
            if opened.size() != file.size:
                raise StrideformerError(f"{file.source} has changed since it was opened: start again")
            return pq.read_table(opened, columns=list(columns), use_threads=False)
    except StrideformerError:
        raise
    except pa.ArrowInvalid as error:
        raise StrideformerError(f"{file.source} cannot be read ({error}): embed again with --resume") from error
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, file.source) from error


def _footer(file: InputFile, options: Mapping[str, str]) -> pa.Schema:
    try:
        filesystem, path = resolve(file.source, options)
        with open_input(filesystem, path) as opened:
            return pq.read_schema(opened)
    except pa.ArrowInvalid as error:
        raise StrideformerError(f"{file.source} cannot be read ({error}): embed again with --resume") from error
    except Exception as error:
        raise storage_error(error, file.source) from error
