"""ChunkEncoder, the inference engine: chunk views of any number of documents to one vector a chunk."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from strideformer.checkpoint import load_first_model, resolve_encoder
from strideformer.chunking import Chunker, ChunkTemplate, ChunkViews
from strideformer.config import check_positions
from strideformer.devices import choose_device, choose_dtype
from strideformer.micro_batches import run_in_micro_batches
from strideformer.model import Strideformer
from strideformer.pooling import pool_tokens, sentence_transformer_pooling
from strideformer.stopwatch import Stopwatch

# Padded tokens in one micro-batch. On a CPU 4 to 8 chunks of 384 tokens stay in cache and beat 32 of them;
# on a GPU 16 k tokens fill it while the activations of a small encoder stay in L2 (DESIGN.md, FACTS.md).
TOKEN_BUDGET = {"cpu": 8 * 384, "mps": 16_384, "cuda": 16_384}


class ChunkEncoder:
    """Encodes chunks with the first model, in micro-batches of near equal length under a token budget.

    Only the token ids and the views cross to the device; special tokens, attention masks and token types are
    made there by index arithmetic, so overlapping chunks are never copied.

    Attributes:
        chunker: cuts texts as the encoder expects them.
        device, dtype: where and in which number format the first model runs.
        hidden_size: the width of a chunk vector.
        token_budget: the most padded tokens in a micro-batch; halved when the device runs out of memory.
        forward_time: how long the device computed in the first model.
    """

    def __init__(
        self,
        first_model: PreTrainedModel,
        chunker: Chunker,
        *,
        chunk_pooling: str = "mean",
        normalize_embeddings: bool = False,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        token_budget: int | None = None,
    ) -> None:
        check_positions(first_model.config, chunker.max_length)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, first_model.dtype)
        self.first_model = first_model.eval().to(device=self.device, dtype=self.dtype)
        self.chunker = chunker
        self.chunk_pooling = chunk_pooling
        self.normalize_embeddings = normalize_embeddings
        self.hidden_size = int(first_model.config.hidden_size)
        self.token_budget = token_budget or TOKEN_BUDGET.get(self.device.type, 8 * 384)
        accepted = inspect.signature(first_model.forward).parameters
        self._takes_token_types = "token_type_ids" in accepted
        self._assemblers: dict[bool, _ChunkAssembler] = {}
        self.forward_time = Stopwatch(self.device)

    @classmethod
    def from_pretrained(
        cls,
        encoder_or_checkpoint: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int = 384,
        stride: int = 128,
        max_chunks: int = 128,
        *,
        token_budget: int | None = None,
    ) -> ChunkEncoder:
        """Load an encoder (a sentence-transformer folder, package or cached hub model), or a checkpoint's.

        Pooling and normalisation are those of the checkpoint's config, or of the sentence-transformer folder.

        Raises:
            StrideformerError: there is no such model, its tokenizer is slow, or the chunking does not suit it.
        """
        folder = resolve_encoder(str(encoder_or_checkpoint))
        if AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type == "strideformer":
            model = Strideformer.from_pretrained(folder)
            chunker = Chunker(load_tokenizer(folder, model.config.first_model_name), max_length, stride, max_chunks)
            return cls.of(model, chunker, device=device, dtype=dtype, token_budget=token_budget)
        pooling, normalize = sentence_transformer_pooling(folder)
        return cls(
            load_first_model(folder),
            Chunker(load_tokenizer(folder), max_length, stride, max_chunks),
            chunk_pooling=pooling,
            normalize_embeddings=normalize,
            device=device,
            dtype=dtype,
            token_budget=token_budget,
        )

    @classmethod
    def of(
        cls,
        model: Strideformer,
        chunker: Chunker,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        token_budget: int | None = None,
    ) -> ChunkEncoder:
        """The engine of a loaded Strideformer's first model, pooled as its config says."""
        return cls(
            model.first_model,
            chunker,
            chunk_pooling=model.config.chunk_pooling,
            normalize_embeddings=model.config.normalize_embeddings,
            device=device,
            dtype=dtype,
            token_budget=token_budget,
        )

    def encode(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Texts to their chunk vectors, for people.

        Returns:
            One ``(num_chunks, hidden_size)`` float32 array a text.
        """
        if isinstance(texts, str):
            texts = [texts]
            text_pairs = [text_pairs] if isinstance(text_pairs, str) else text_pairs
        if not texts:
            return []
        views = self.chunker.views(texts, text_pairs)
        vectors = self.encode_views(views).float().cpu().numpy()
        return np.split(vectors, views.chunk_offsets[1:-1])

    @torch.inference_mode()
    def encode_views(self, views: ChunkViews) -> Tensor:
        """Chunk views to chunk vectors, in the order of the views.

        Returns:
            (num_chunks, hidden_size) tensor on ``device``, float32 (pooled and kept in full precision
            whatever the first model runs in).

        Raises:
            StrideformerError: one chunk alone does not fit the device's memory.
        """
        pair = views.first_ids is not None
        assembler = self._assembler(pair)
        chunks = assembler.load(views)
        vectors = torch.empty((views.num_chunks, self.hidden_size), dtype=torch.float32, device=self.device)

        def run(rows: np.ndarray) -> None:
            width = int(chunks.lengths[rows].max())
            full = bool((chunks.lengths[rows] == width).all())
            row_index = torch.from_numpy(rows).to(self.device)
            batch = assembler.assemble(chunks, row_index, width, full)
            if not self._takes_token_types:
                batch.pop("token_type_ids", None)
            with self.forward_time.running():
                states = self.first_model(**batch).last_hidden_state
            vectors[row_index] = pool_tokens(
                states, batch.get("attention_mask"), self.chunk_pooling, self.normalize_embeddings
            )

        self.token_budget = run_in_micro_batches(chunks.lengths, self.token_budget, run)
        return vectors

    def _assembler(self, pair: bool) -> _ChunkAssembler:
        if pair not in self._assemblers:
            template = self.chunker.template(pair)
            self._assemblers[pair] = _ChunkAssembler(template, self.chunker.pad_token_id, self.device)
        return self._assemblers[pair]


class _LoadedChunks:
    """One call's token pool and views, on the device.

    The pool is every document's content ids, followed (for pairs) by every document's first text.
    """

    def __init__(self, views: ChunkViews, template: ChunkTemplate, device: torch.device) -> None:
        documents = np.repeat(np.arange(views.num_documents), views.chunk_counts)
        content = views.chunk_lengths.astype(np.int64)
        starts = views.token_offsets[:-1][documents] + views.chunk_starts
        pool = views.token_ids
        head = np.full(views.num_chunks, len(template.prefix_ids), np.int64)
        self.first_starts: Tensor | None = None
        if views.first_ids is not None and views.first_offsets is not None:
            first_starts = views.first_offsets[:-1][documents] + len(pool)
            first_lengths = np.diff(views.first_offsets)[documents]
            pool = np.concatenate([pool, views.first_ids])
            head = head + first_lengths + len(template.between_ids)
            self.first_starts = torch.from_numpy(first_starts).to(device)
        self.lengths = head + content + len(template.suffix_ids)
        # Narrow integers cross the bus and are widened there: int16 and int32 views of the unsigned ids,
        # because torch computes with few unsigned types; the mask takes the sign back off.
        signed = pool.view(np.int16 if pool.dtype == np.uint16 else np.int32)
        mask = 0xFFFF if pool.dtype == np.uint16 else 0x7FFFFFFF
        signed = signed if signed.flags.writeable else signed.copy()
        self.pool = torch.from_numpy(signed).to(device).to(torch.int32) & mask
        if not len(pool):
            self.pool = torch.zeros(1, dtype=torch.int32, device=device)
        self.starts = torch.from_numpy(starts).to(device)
        self.head = torch.from_numpy(head).to(device)
        self.content = torch.from_numpy(content).to(device)


class _ChunkAssembler:
    """Builds the input tensors of a micro-batch on the device from views and the special-token template."""

    def __init__(self, template: ChunkTemplate, pad_token_id: int, device: torch.device) -> None:
        self.template = template
        self.pad_token_id = pad_token_id
        self.device = device
        self._constants = {
            name: torch.tensor(getattr(template, name), dtype=torch.int32, device=device)
            for name in ("prefix_ids", "between_ids", "suffix_ids", "between_type_ids", "suffix_type_ids")
        }

    def load(self, views: ChunkViews) -> _LoadedChunks:
        return _LoadedChunks(views, self.template, self.device)

    def assemble(self, chunks: _LoadedChunks, rows: Tensor, width: int, full: bool) -> dict[str, Tensor]:
        """The keyword arguments of the first model's forward for these chunks.

        Args:
            rows: (micro_batch,) int64, which chunks.
            width: the longest of them, special tokens included.
            full: all are of that length, so that no mask is needed.

        Returns:
            input_ids, token_type_ids and, unless ``full``, attention_mask: (micro_batch, width) int64.
        """
        column = torch.arange(width, device=self.device).unsqueeze(0)  # (1, width)
        head = chunks.head[rows].unsqueeze(1)  # (micro_batch, 1)
        tail = head + chunks.content[rows].unsqueeze(1)
        end = tail + len(self.template.suffix_ids)
        last = chunks.pool.shape[0] - 1

        source = chunks.starts[rows].unsqueeze(1) + (column - head)
        ids = chunks.pool[source.clamp_(0, last)].to(torch.int64)
        types = torch.full_like(ids, self.template.content_type_id)

        self._put(ids, column - tail, "suffix_ids")
        self._put(types, column - tail, "suffix_type_ids")
        if chunks.first_starts is not None:
            prefix = len(self.template.prefix_ids)
            between = head - len(self.template.between_ids)  # (micro_batch, 1): where the first text ends
            first = (chunks.first_starts[rows].unsqueeze(1) + (column - prefix)).clamp_(0, last)
            before_content = column < between
            ids = torch.where(before_content, chunks.pool[first].to(torch.int64), ids)
            types = torch.where(before_content, self.template.first_type_id, types)
            self._put(ids, column - between, "between_ids")
            self._put(types, column - between, "between_type_ids")
        if self.template.prefix_ids:
            prefix = len(self.template.prefix_ids)
            ids[:, :prefix] = self._constants["prefix_ids"]
            types[:, :prefix] = torch.tensor(self.template.prefix_type_ids, device=self.device)
        if full:
            return {"input_ids": ids, "token_type_ids": types}
        outside = column >= end
        ids.masked_fill_(outside, self.pad_token_id)
        types.masked_fill_(outside, 0)
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": (~outside).to(torch.int64)}

    def _put(self, target: Tensor, position: Tensor, constant: str) -> None:
        """Write the constant where ``position`` (micro_batch, width) counts 0, 1, … along it."""
        values = self._constants[constant]
        if not len(values):
            return
        inside = (position >= 0) & (position < len(values))
        chosen = values[position.clamp(0, len(values) - 1)].to(target.dtype)
        target.copy_(torch.where(inside, chosen, target))


def load_tokenizer(folder: Path, first_model_name: str | None = None) -> Any:
    """The tokenizer beside a model, or its encoder's where a checkpoint was saved without one."""
    if not (folder / "tokenizer.json").exists() and not (folder / "tokenizer_config.json").exists():
        folder = resolve_encoder(first_model_name) if first_model_name else folder
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
