"""Documents as training takes them: vectors of a frozen first model, or token ids, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from strideformer.chunk_template import ChunkTemplate
from strideformer.chunking import Chunker, ChunkViews
from strideformer.token_bags import TokenBags

Key = tuple[int, int]


@dataclass(frozen=True)
class EmbeddedDocuments:
    """Documents as the frozen first model left them.

    Attributes:
        chunk_vectors: (num_chunks, hidden_size) float16 or float32, all documents one after the other.
        chunk_offsets: (num_documents + 1,) int64.
        labels: (num_documents,) int64, or (num_documents, num_labels) float32 for multi-label and regression.
        bags: their tokens, for a model that has a ``BagOfTokens``.
    """

    chunk_vectors: Tensor
    chunk_offsets: np.ndarray
    labels: Tensor
    bags: TokenBags | None = None

    @property
    def chunk_counts(self) -> np.ndarray:
        """(num_documents,) int64."""
        return np.diff(self.chunk_offsets)

    @property
    def chunk_widths(self) -> np.ndarray:
        """(num_documents,) int64, what one chunk costs of a budget: 1."""
        return np.ones(len(self.chunk_offsets) - 1, np.int64)

    def features(self, document: int, chunks: np.ndarray) -> dict[str, Any]:
        """Those chunks, in their order, as ``StrideformerCollator`` takes them, without the label."""
        rows = torch.from_numpy(self.chunk_offsets[document] + chunks)
        of_tokens = {} if self.bags is None else self.bags.features(document)
        return {"chunk_vectors": self.chunk_vectors[rows]} | of_tokens


@dataclass(frozen=True)
class TokenizedDocuments:
    """Documents as the tokenizer left them, for training both models.

    Attributes:
        views: the chunks of all documents.
        chunker: what cut them.
        labels: as those of ``EmbeddedDocuments``.
        takes_token_types: whether the first model does.
        bags: as those of ``EmbeddedDocuments``; of whole documents, whatever chunks of them an epoch sees.
    """

    views: ChunkViews
    chunker: Chunker
    labels: Tensor
    takes_token_types: bool = True
    bags: TokenBags | None = None

    @cached_property
    def template(self) -> ChunkTemplate:
        """The special tokens around a chunk."""
        return self.chunker.template(self.views.first_ids is not None)

    @property
    def chunk_counts(self) -> np.ndarray:
        """(num_documents,) int64."""
        return self.views.chunk_counts

    @property
    def chunk_widths(self) -> np.ndarray:
        """(num_documents,) int64, tokens of a document's longest chunk, special ones included: what each costs."""
        template = self.template
        special = len(template.prefix_ids) + len(template.suffix_ids)
        widths = np.maximum.reduceat(self.views.chunk_lengths.astype(np.int64), self.views.chunk_offsets[:-1]) + special
        if self.views.first_offsets is not None:
            widths = widths + np.diff(self.views.first_offsets) + len(template.between_ids)
        return np.asarray(widths)

    def features(self, document: int, chunks: np.ndarray) -> dict[str, Any]:
        """Those chunks, in their order, as ``StrideformerCollator`` takes them, without the label."""
        views, template = self.views, self.template
        tokens = views.token_ids[views.token_offsets[document] : views.token_offsets[document + 1]]
        head, types = list(template.prefix_ids), list(template.prefix_type_ids)
        if views.first_ids is not None and views.first_offsets is not None:
            first = views.first_ids[views.first_offsets[document] : views.first_offsets[document + 1]].tolist()
            head += [*first, *template.between_ids]
            types += [*([template.first_type_id] * len(first)), *template.between_type_ids]
        rows = views.chunk_offsets[document] + chunks
        ids, type_ids = [], []
        for start, length in zip(views.chunk_starts[rows].tolist(), views.chunk_lengths[rows].tolist(), strict=True):
            ids.append([*head, *tokens[start : start + length].tolist(), *template.suffix_ids])
            type_ids.append([*types, *([template.content_type_id] * length), *template.suffix_type_ids])
        of_tokens = {} if self.bags is None else self.bags.features(document)
        return {"input_ids": ids} | ({"token_type_ids": type_ids} if self.takes_token_types else {}) | of_tokens


Documents = EmbeddedDocuments | TokenizedDocuments


class HaveFeatures(Protocol):
    """Labelled documents of which each one's chunks can be had, in whatever form."""

    @property
    def labels(self) -> Tensor: ...

    @property
    def chunk_counts(self) -> np.ndarray: ...

    def features(self, document: int, chunks: np.ndarray) -> dict[str, Any]: ...


class EpochDataset(Dataset[dict[str, Any]]):
    """Documents by (epoch, document), so that what an epoch sees of a document depends on nothing but these.

    Args:
        documents: with vectors or token ids.
        max_chunks: of a document with more, a random subset in their order; None takes all.
        seed: of the choice.
    """

    def __init__(self, documents: HaveFeatures, max_chunks: int | None = None, seed: int = 0) -> None:
        self.documents = documents
        self.max_chunks = max_chunks
        self.seed = seed
        self.counts = documents.chunk_counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, document = key
        count = int(self.counts[document])
        chunks = np.arange(count)
        if self.max_chunks is not None and count > self.max_chunks:
            generator = np.random.default_rng((self.seed, epoch, document))
            chunks = np.sort(generator.choice(count, self.max_chunks, replace=False))
        label = self.documents.labels[document]
        value = label.item() if label.dim() == 0 else label.numpy()
        return self.documents.features(document, chunks) | {"labels": value}


def join(vectors: Sequence[np.ndarray], labels: Tensor, bags: TokenBags | None = None) -> EmbeddedDocuments:
    """Per-document (num_chunks, hidden_size) arrays, as ChunkEncoder.encode gives them, as one."""
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in vectors])]).astype(np.int64)
    return EmbeddedDocuments(torch.from_numpy(np.concatenate(vectors)), offsets, labels, bags)
