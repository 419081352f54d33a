"""ChunkEncoder, the inference engine: chunk views of any number of documents to one vector a chunk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from strideformer.checkpoint import load_first_model, resolve_encoder, takes_token_types
from strideformer.chunk_batches import ChunkAssembler, SortedChunks
from strideformer.chunking import Chunker, ChunkViews
from strideformer.config import DEFAULT_MAX_LENGTH, DEFAULT_STRIDE, check_positions
from strideformer.devices import INT8, cast_encoder, choose_device, choose_dtype, published_dtype
from strideformer.errors import StrideformerError, first_line
from strideformer.freed_memory import keep_freed_blocks
from strideformer.int8_encoder import check_int8, to_int8
from strideformer.int8_texts import TEXTS
from strideformer.layers import LAST, refuse_unknown_layers, states_of_layers
from strideformer.micro_batches import run_in_micro_batches, threads_for
from strideformer.model import Strideformer
from strideformer.one_thread import one_thread
from strideformer.packed_encoder import PackedEncoder, packed_encoder
from strideformer.packed_linear import keep_kernels
from strideformer.pooling import pool_packed, pool_tokens, sentence_transformer_pooling
from strideformer.stopwatch import Stopwatch, synchronize
from strideformer.token_budget import BUDGETS, fastest_budget

# Padded tokens in one micro-batch. On a CPU, where each core has its own, 4 to 8 chunks of 384 tokens beat 32 of them;
# on a GPU 16 k tokens fill it while the activations of a small encoder stay in L2.
TOKEN_BUDGET = {"cpu": 8 * 384, "mps": 16_384, "cuda": 16_384}

# max_length, stride and max_chunks of an encoder that is not of a checkpoint.
DEFAULT_CHUNKING = (DEFAULT_MAX_LENGTH, DEFAULT_STRIDE, 128)


class ChunkEncoder:
    """Encodes chunks with the first model, in micro-batches of near equal length under a token budget.

    Only the token ids and the views cross to the device; special tokens, positions and token types are made
    there by index arithmetic, so overlapping chunks are never copied. BERT and its like run packed, without
    padding; any other first model runs its own forward, padded and masked.

    Attributes:
        chunker: cuts texts as the encoder expects them.
        device, dtype: where and in which number format the first model runs.
        int8: whether its linear layers run in int8, and ``dtype`` is that of all else.
        packed: the forward without padding, None where the first model's own is used.
        hidden_size: the width of a chunk vector.
        token_budget: the most padded tokens in a micro-batch; halved when the device runs out of memory.
        forward_time, copy_time: how long the device computed in the first model, and was sent what it reads.
    """

    def __init__(
        self,
        first_model: PreTrainedModel,
        chunker: Chunker,
        *,
        chunk_pooling: str = "mean",
        normalize_embeddings: bool = False,
        chunk_layers: Sequence[int] = LAST,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        token_budget: int | None = None,
    ) -> None:
        check_positions(first_model.config, chunker.max_length)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, published_dtype(first_model))
        self.int8 = dtype == INT8
        if self.int8:
            check_int8(self.device)
        self.chunker = chunker
        self.chunk_pooling = chunk_pooling
        self.normalize_embeddings = normalize_embeddings
        self.chunk_layers = list(chunk_layers)
        if tuple(self.chunk_layers) != LAST:
            refuse_unknown_layers(self.chunk_layers, first_model.config.num_hidden_layers)
        self.hidden_size = len(self.chunk_layers) * int(first_model.config.hidden_size)
        self.token_budget = token_budget or TOKEN_BUDGET.get(self.device.type, 8 * 384)
        self._takes_token_types = takes_token_types(first_model)
        self._assemblers: dict[bool, ChunkAssembler] = {}
        self._assembling = Lock()
        if self.device.type == "cpu":
            keep_freed_blocks()
            keep_kernels()
        with one_thread():
            self.first_model = cast_encoder(first_model.eval(), self.device, self.dtype)
            self.packed = packed_encoder(self.first_model)
            if self.int8:
                self._to_int8()
        self.forward_time, self.copy_time = Stopwatch(self.device), Stopwatch(self.device)

    @classmethod
    def from_pretrained(
        cls,
        encoder_or_checkpoint: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int | None = None,
        stride: int | None = None,
        max_chunks: int | None = None,
        *,
        chunk_layers: Sequence[int] = LAST,
        token_budget: int | None = None,
    ) -> ChunkEncoder:
        """Load an encoder (a sentence-transformer folder, package or cached hub model), or a checkpoint's.

        Pooling and normalisation are those of the checkpoint's config, or of the sentence-transformer folder; so are
        the layers of a checkpoint, while ``chunk_layers`` are those of an encoder. ``max_length``, ``stride`` and
        ``max_chunks`` are by default the checkpoint's, and of an encoder 384, 128 and 128.

        ``dtype`` is ``auto``, a floating-point format, or ``int8``: see `choose_dtype` and `to_int8`.

        Raises:
            StrideformerError: there is no such model, its tokenizer is slow, the chunking does not suit it, or it
                cannot run in int8 here.
        """
        folder = resolve_encoder(str(encoder_or_checkpoint))
        asked = (max_length, stride, max_chunks)
        if AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type == "strideformer":
            model = Strideformer.from_pretrained(folder)
            config = model.config
            trained = (config.max_length, config.stride, config.max_chunks)
            chunker = Chunker(load_tokenizer(folder, config.first_model_name), *_chosen(asked, trained))
            return cls.of(model, chunker, device=device, dtype=dtype, token_budget=token_budget)
        pooling, normalize = sentence_transformer_pooling(folder)
        return cls(
            load_first_model(folder),
            Chunker(load_tokenizer(folder), *_chosen(asked, DEFAULT_CHUNKING)),
            chunk_pooling=pooling,
            normalize_embeddings=normalize,
            chunk_layers=chunk_layers,
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
        """The engine of a loaded Strideformer's first model, pooled as its config says.

        The first model is moved to the device and cast in place, as ``Module.to`` does.
        """
        return cls(
            model.first_model,
            chunker,
            chunk_pooling=model.config.chunk_pooling,
            normalize_embeddings=model.config.normalize_embeddings,
            chunk_layers=model.config.chunk_layers,
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
        if not len(texts):  # an array has no truth
            return []
        views = self.chunker.views(texts, text_pairs)
        vectors = self.encode_views(views).float().cpu().numpy()
        return np.split(vectors, views.chunk_offsets[1:-1])

    @torch.inference_mode()
    def encode_views(self, views: ChunkViews, chunks: np.ndarray | None = None) -> Tensor:
        """Chunk views to chunk vectors, in the order of the views.

        Args:
            views: the chunks of any number of documents.
            chunks: (num_chunks,) int64, which of them to encode, and in which order; all of them if None.

        Returns:
            (num_chunks, hidden_size) tensor on ``device``, float32 (pooled and kept in full precision
            whatever the first model runs in).

        Raises:
            StrideformerError: one chunk alone does not fit the device's memory.
        """
        assembler = self._assembler(pair=views.first_ids is not None)
        with self.copy_time.running():
            loaded = SortedChunks(views, assembler.template, self.device, chunks)
        vectors = torch.empty((len(loaded.order), self.hidden_size), dtype=torch.float32, device=self.device)

        @torch.inference_mode()
        def run(start: int, end: int) -> None:
            vectors[start:end] = self._encode(assembler, loaded, start, end)

        with self.forward_time.running():
            self.token_budget = run_in_micro_batches(
                loaded.lengths, self.token_budget, run, threads=self._threads(len(loaded.order))
            )
        with torch.inference_mode(False), torch.no_grad():  # for whoever trains a second model on them
            return torch.empty_like(vectors).index_copy_(0, loaded.device_order, vectors)

    def search_token_budget(self, budgets: Sequence[int] = BUDGETS) -> int:
        """Try budgets on chunks of full length, keep the fastest as ``token_budget``, and give it.

        It takes about a second on a GPU, and is not worth it on a CPU, where a few chunks fill the cache.
        """
        before = self.token_budget

        def tokens_per_second(budget: int) -> float:
            views = self._full_chunks(max(1, budget // self.chunker.max_length))
            self.token_budget = max(budget, self.chunker.max_length)
            synchronize(self.device)
            started = time.perf_counter()
            self.encode_views(views)
            synchronize(self.device)
            if self.token_budget < budget:
                raise torch.OutOfMemoryError(f"{budget} tokens do not fit the device's memory")
            return views.num_chunks * self.chunker.max_length / (time.perf_counter() - started)

        try:
            found = fastest_budget(tokens_per_second, budgets)
        finally:
            self.token_budget = before
            for stopwatch in (self.forward_time, self.copy_time):
                stopwatch.take()
        self.token_budget = found or min(before, *budgets)
        return self.token_budget

    def _full_chunks(self, number: int) -> ChunkViews:
        """So many chunks of the most tokens, of one id that every vocabulary has."""
        content = self.chunker.max_length - self.chunker.template().num_special_tokens
        places = np.arange(number, dtype=np.int64)
        return ChunkViews(
            token_ids=np.full(number * content, self.chunker.pad_token_id, np.uint32),
            token_offsets=np.array([0, number * content]),
            chunk_starts=(places * content).astype(np.int32),
            chunk_lengths=np.full(number, content, np.int32),
            chunk_offsets=np.array([0, number]),
            truncated=np.zeros(1, bool),
        )

    def _to_int8(self) -> None:
        if not isinstance(self.packed, PackedEncoder):
            raise StrideformerError(
                f"dtype int8 is for encoders that run packed, BERT and its like, and not for this "
                f"{self.first_model.config.model_type}: use auto"
            )
        views = self.chunker.views(TEXTS)
        assembler = self._assembler(pair=False)
        chunks = SortedChunks(views, assembler.template, self.device)
        to_int8(self.packed, assembler.packed(chunks, 0, views.num_chunks))

    def _threads(self, num_chunks: int) -> int:
        """How many micro-batches to run at once: on a CPU one on each of its cores, if there are chunks for all.

        Not with the first model's own forward: transformers has it change its modules while it runs.
        """
        if self.packed is None or self.device.type != "cpu":
            return 1
        return threads_for(num_chunks)

    def _encode(self, assembler: ChunkAssembler, chunks: SortedChunks, start: int, end: int) -> Tensor:
        pooling = (self.chunk_pooling, self.normalize_embeddings)
        if self.packed is not None:
            with self._assembling:
                packed = assembler.packed(chunks, start, end)
            return pool_packed(self.packed(packed, self.chunk_layers), packed.offsets, packed.runs, *pooling)
        batch = assembler.padded(chunks, start, end)
        if not self._takes_token_types:
            del batch["token_type_ids"]
        layers = states_of_layers(self.first_model, self.chunk_layers, **batch)
        return pool_tokens(layers, batch.get("attention_mask"), *pooling)

    def _assembler(self, pair: bool) -> ChunkAssembler:
        if pair not in self._assemblers:
            template = self.chunker.template(pair)
            self._assemblers[pair] = ChunkAssembler(template, self.chunker.pad_token_id, self.device)
        return self._assemblers[pair]


def _chosen(asked: Sequence[int | None], default: Sequence[int]) -> list[int]:
    return [other if one is None else one for one, other in zip(asked, default, strict=True)]


def load_tokenizer(folder: Path, first_model_name: str | None = None) -> Any:
    """The tokenizer beside a model, or its encoder's where a checkpoint was saved without one.

    Raises:
        StrideformerError: there is none that can be read.
    """
    if not (folder / "tokenizer.json").exists() and not (folder / "tokenizer_config.json").exists():
        folder = resolve_encoder(first_model_name) if first_model_name else folder
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers package raises bare ones
        raise StrideformerError(
            f"{folder} has no tokenizer that can be read ({first_line(error)}): save the first model's fast tokenizer "
            f"there"
        ) from error
