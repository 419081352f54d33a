"""TokenBags: which tokens each document has and how often, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from strideformer.chunk_batches import to_device, token_pool

if TYPE_CHECKING:
    from strideformer.chunking import ChunkViews


@dataclass(frozen=True)
class TokenBags:
    """The different tokens of many documents, all documents one after the other.

    Attributes:
        ids: (num_distinct,) uint32, ascending within each document.
        counts: (num_distinct,) int32, how often the document has each, at least 1.
        offsets: (num_documents + 1,) int64, each document's slice of both.
    """

    ids: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, views: ChunkViews, device: torch.device | None = None) -> TokenBags:
        """Of the tokens that the chunks of documents use, each counted once however many chunks overlap on it.

        Both texts of a pair count; special tokens do not.

        Args:
            views: of the documents.
            device: where they are sorted; the CPU by default, which takes about 0.1 s for a million tokens.
        """
        device = torch.device("cpu") if device is None else device
        keys = [_keys(views.token_ids, views.token_offsets, device)]
        if views.first_ids is not None and views.first_offsets is not None:
            keys.append(_keys(views.first_ids, views.first_offsets, device))
        found, counts = torch.unique(torch.cat(keys), return_counts=True)
        documents = torch.arange(views.num_documents + 1, device=device)
        return cls(
            ids=(found & 0xFFFFFFFF).to(torch.int32).cpu().numpy().view(np.uint32),
            counts=counts.to(torch.int32).cpu().numpy(),
            offsets=torch.searchsorted(found, documents << 32).cpu().numpy(),
        )

    @classmethod
    def join(cls, bags: Sequence[TokenBags]) -> TokenBags:
        """Those of all documents, in their order."""
        sizes = np.concatenate([np.zeros(1, np.int64), *(each.sizes for each in bags)])
        ids = np.concatenate([np.empty(0, np.uint32), *(each.ids for each in bags)])
        counts = np.concatenate([np.empty(0, np.int32), *(each.counts for each in bags)])
        return cls(ids, counts, np.cumsum(sizes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """(num_documents,) int64 different tokens of each document."""
        return np.diff(self.offsets)

    def between(self, start: int, end: int) -> TokenBags:
        """Those of the documents ``[start, end)``, not copied."""
        offsets = self.offsets[start : end + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        return TokenBags(self.ids[inside], self.counts[inside], offsets - offsets[0])

    def take(self, documents: np.ndarray) -> TokenBags:
        """Those of some documents, (taken,) int64, in that order."""
        sizes = self.sizes[documents]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[documents] - offsets[:-1], sizes)
        return TokenBags(self.ids[places], self.counts[places], offsets)

    def features(self, document: int) -> dict[str, Any]:
        """One document's, as ``StrideformerCollator`` takes it."""
        inside = slice(int(self.offsets[document]), int(self.offsets[document + 1]))
        return {"token_bag_ids": self.ids[inside], "token_bag_counts": self.counts[inside]}

    def tensors(self, device: torch.device | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids, counts and sizes as int64 tensors, as ``BagOfTokens`` takes them."""
        ids, counts, sizes = (
            torch.from_numpy(values.astype(np.int64)).to(device) for values in (self.ids, self.counts, self.sizes)
        )
        return ids, counts, sizes


def _keys(ids: np.ndarray, offsets: np.ndarray, device: torch.device) -> torch.Tensor:
    """(tokens,) int64: the document in the upper half, the token id in the lower."""
    tokens = token_pool(ids, device)[: len(ids)].to(torch.int64)
    sizes = to_device(np.diff(offsets), device)
    return tokens | torch.repeat_interleave(sizes, output_size=len(ids)) << 32
