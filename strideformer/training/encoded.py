"""Tokenised documents whose chunks the packed first model encodes, a few documents at a time, for validation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch

from strideformer.encoder import ChunkEncoder
from strideformer.model import Strideformer
from strideformer.packed_encoder import runs_packed
from strideformer.training.documents import TokenizedDocuments

# Chunks that are encoded at once: the packed forward puts those of one length together, and their vectors take 6 MB.
CHUNKS_AT_ONCE = 4096
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class EncodedDocuments:
    """Gives the features of `TokenizedDocuments` as chunk vectors, once `hold` has made them.

    That takes three fifths of the time of the first model's own forward (MiniLM-L6 in bf16 on two cores of a Zen 5, 300
    chunks of 256 tokens: 2.5 s in place of 4.1 to 4.5). Vectors are rounded to float16, as a job's are.

    Args:
        documents: of which some are asked for.
        encoder: of a copy of the first model, since it casts its weights in place.
    """

    def __init__(self, documents: TokenizedDocuments, encoder: ChunkEncoder) -> None:
        self.documents, self.encoder = documents, encoder
        self.labels, self.chunk_counts = documents.labels, documents.chunk_counts
        self.starts: dict[int, int] = {}
        self.vectors = torch.empty((0, encoder.hidden_size), dtype=torch.float16)

    @classmethod
    def of(cls, documents: TokenizedDocuments, model: Strideformer, precision: str) -> EncodedDocuments | None:
        """None where the first model does not run packed.

        Args:
            documents: of which some are asked for.
            model: of which the first model is copied.
            precision: ``bf16``, ``fp16`` or ``no``, as it is trained in.
        """
        config = model.config
        if not runs_packed(config.first_model_config):  # nor is it copied, which may be large
            return None
        encoder = ChunkEncoder(
            deepcopy(model.first_model),
            documents.chunker,
            chunk_pooling=config.chunk_pooling,
            normalize_embeddings=config.normalize_embeddings,
            chunk_layers=config.chunk_layers,
            device=model.device,
            dtype=DTYPES.get(precision, torch.float32),
        )
        return cls(documents, encoder) if encoder.packed is not None else None

    def hold(self, order: np.ndarray, at_least: int) -> None:
        """Encode the first of these documents, in place of those that were held, unless they are held already.

        Args:
            order: (documents,) int64.
            at_least: how many of them there have to be, whatever their length.
        """
        if all(document in self.starts for document in order[:at_least].tolist()):
            return
        ends = np.cumsum(self.chunk_counts[order])
        held = order[: max(at_least, int(np.searchsorted(ends, CHUNKS_AT_ONCE, side="right")))]
        firsts = self.documents.views.chunk_offsets[held]
        counts = self.chunk_counts[held]
        starts = np.cumsum(counts) - counts
        chunks = np.repeat(firsts - starts, counts) + np.arange(counts.sum())
        self.vectors = self.encoder.encode_views(self.documents.views, chunks).half().cpu()
        self.starts = dict(zip(held.tolist(), starts.tolist(), strict=True))

    def features(self, document: int, chunks: np.ndarray) -> dict[str, Any]:
        """Those chunks of a document that is held, in their order, as ``StrideformerCollator`` takes them."""
        bags = self.documents.bags
        vectors = self.vectors[torch.from_numpy(self.starts[document] + chunks)]
        return {"chunk_vectors": vectors} | ({} if bags is None else bags.features(document))
