"""StrideformerCollator: documents of any number of chunks to the tensors of one training batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strideformer.errors import StrideformerError

LABEL_NAMES = ("labels", "label")


class StrideformerCollator:
    """Puts documents together for ``Strideformer.forward``.

    Args:
        tokenizer: the first model's; its ``pad_token_id`` fills chunks up.
        max_chunks: the most chunks of each document; what is beyond is left out.
    """

    def __init__(self, tokenizer: Any, max_chunks: int = 128) -> None:
        if max_chunks < 1:
            raise StrideformerError(f"max_chunks={max_chunks} must be at least 1")
        self.tokenizer = tokenizer
        self.max_chunks = max_chunks

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate documents.

        Args:
            features: for each document ``input_ids``, a list of chunks that are lists of ids, with ``attention_mask``
                and ``token_type_ids`` of the same shape if there are any; or ``chunk_vectors``,
                (num_chunks, hidden_size); and ``label`` or ``labels``; and ``token_bag_ids`` and
                ``token_bag_counts``, as ``TokenBags.features`` gives them, for a model with a ``BagOfTokens``.

        Returns:
            input_ids, attention_mask and token_type_ids: (num_chunks, longest) int64, or chunk_vectors:
            (num_chunks, hidden_size) float32; chunk_counts: (documents,) int64; labels: (documents,) int64 for
            classes, float32 for numbers and lists; token_bag_ids and token_bag_counts: (num_distinct,) int64 and
            token_bag_sizes: (documents,) int64, where there are any.

        Raises:
            StrideformerError: there is no document, or one without chunks.
        """
        if not features:
            raise StrideformerError("a batch needs at least one document")
        source = "chunk_vectors" if "chunk_vectors" in features[0] else "input_ids"
        documents = [feature[source][: self.max_chunks] for feature in features]
        for index, chunks in enumerate(documents):
            if not len(chunks):
                raise StrideformerError(f"document {index} of the batch has no chunks: give it at least one")
        batch = {"chunk_counts": torch.tensor([len(chunks) for chunks in documents])}
        if source == "chunk_vectors":
            batch[source] = torch.cat([_tensor(chunks) for chunks in documents]).float()
        else:
            chunks = [chunk for document in documents for chunk in document]
            batch["input_ids"] = _padded(chunks, self.tokenizer.pad_token_id or 0)
            batch["attention_mask"] = self._cells(
                features, "attention_mask", _padded([[1] * len(c) for c in chunks], 0)
            )
            if "token_type_ids" in features[0]:
                batch["token_type_ids"] = self._cells(features, "token_type_ids", None)
        if "token_bag_ids" in features[0]:
            for key in ("token_bag_ids", "token_bag_counts"):
                rows = [torch.from_numpy(np.asarray(feature[key], np.int64)) for feature in features]
                batch[key] = torch.cat(rows)
            batch["token_bag_sizes"] = torch.tensor([len(row) for row in rows])
        name = next((name for name in LABEL_NAMES if name in features[0]), None)
        if name is not None:
            batch["labels"] = _labels([feature[name] for feature in features])
        return batch

    def _cells(self, features: Sequence[Mapping[str, Any]], name: str, default: Tensor | None) -> Tensor:
        if name not in features[0] and default is not None:
            return default
        return _padded([cells for feature in features for cells in feature[name][: self.max_chunks]], 0)


def _tensor(vectors: Any) -> Tensor:
    """An array or list as a tensor; a tensor, of any type that arrays may not have, without its history."""
    return vectors.detach().cpu() if isinstance(vectors, Tensor) else torch.as_tensor(np.asarray(vectors))


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """(rows, longest) int64."""
    padded = torch.full((len(rows), max(len(row) for row in rows)), fill, dtype=torch.long)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    return padded


def _labels(labels: Sequence[Any]) -> Tensor:
    """Whole numbers stay whole; numbers with a fraction, and rows of numbers, become float32."""
    tensor = torch.as_tensor(np.asarray(labels))
    return tensor.long() if tensor.dim() == 1 and not tensor.is_floating_point() else tensor.float()
