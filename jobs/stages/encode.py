"""The encode stage: chunk views to chunk vectors, on a GPU or CPU actor.

torch is imported where it is used: the driver names the stages and must not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.measures import DUPLICATES, add_measures
from jobs.model_source import ModelSource
from jobs.stages.chunk import Chunking, load_chunker
from jobs.stages.columns import bag_columns, bisect, quarantine, ragged, read_views, with_columns
from strideformer.chunking import ChunkViews
from strideformer.duplicates import first_alike, without_repetitions
from strideformer.errors import StrideformerError
from strideformer.freed_memory import keep_freed_memory
from strideformer.layers import LAST

if TYPE_CHECKING:
    import torch

    from strideformer.model import Strideformer
    from strideformer.token_bags import TokenBags

OUT_OF_MEMORY = "out_of_memory"
INTERNAL = ["_token_ids", "_chunk_starts", "_chunk_lengths", "_first_ids"]


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder actor runs the first model.

    Attributes:
        device, dtype: as in ChunkEncoder.
        token_budget: as in ChunkEncoder; None searches for the fastest on a GPU.
        threads: torch threads of a CPU actor; Ray would otherwise give each actor one.
        chunk_layers: of a bare encoder, as in ChunkEncoder; a checkpoint has its own.
        early_exit: of EncodeAndAggregate alone: the confidence from which a document is not read any further; None
            reads all of every document.
    """

    chunking: Chunking
    device: str = "auto"
    dtype: str = "auto"
    token_budget: int | None = None
    threads: int = 1
    chunk_layers: tuple[int, ...] = LAST
    early_exit: float | None = None


@dataclass
class EncodedShard:
    """A shard of which the chunks are being encoded.

    Attributes:
        documents: the shard, views included.
        views: of its documents; one that is identical to one before it has no chunks.
        first: (num_documents,) int64, as `first_alike` gives it.
        vectors: (num_chunks, hidden_size) float32 on the device, NaN where nothing is encoded yet or it failed.
        failures: documents that the encoder failed on, with reason and detail.
        wait: seconds that the actor waited for this shard.
        seconds: that encoding it has taken so far.
        bags: the tokens of its documents, where something reads them.
    """

    documents: pa.Table
    views: ChunkViews
    first: np.ndarray
    vectors: torch.Tensor
    wait: float
    seconds: float
    bags: TokenBags | None = None
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)


class Encode:
    """Chunk views → chunk vectors, for one whole shard.

    Needs   _token_ids, _chunk_starts, _chunk_lengths (and _first_ids of pairs), as Chunk adds them
    Adds    _chunk_vectors: large_list<fixed_size_list<float16, hidden_size>>, empty for a document that is
            identical to one before it; _first_alike: int64, the row of the first such document, or the row itself;
            _token_bag_ids: large_list<uint32>, _token_bag_counts: large_list<int32>, where the model reads them;
            measures: wait, encode, copy, forward, duplicates
    Drops   what it needs
    Quarantines documents that the encoder fails on, with reason ``encoding_failed``, and those that alone are too
    large for the device's memory, with reason ``out_of_memory``.

    Args:
        bags: whether something reads the documents' tokens as bags; by default, whether the model does.

    Attributes:
        ended: ``time.perf_counter()`` when the actor had done with the shard before; None before the first.
    """

    ended: float | None = None

    def __init__(
        self,
        model: ModelSource,
        options: EncoderOptions,
        strideformer: Strideformer | None = None,
        bags: bool | None = None,
    ) -> None:
        import torch

        from strideformer.encoder import ChunkEncoder
        from strideformer.pooling import sentence_transformer_pooling

        torch.set_num_threads(options.threads)
        chunker = load_chunker(model, options.chunking)
        how: dict[str, Any] = {
            "device": options.device,
            "dtype": options.dtype,
            "token_budget": options.token_budget,
        }
        self.bags = bool(bags)
        if model.is_checkpoint():
            loaded = strideformer or model.load()
            self.encoder = ChunkEncoder.of(loaded, chunker, **how)
            self.bags = loaded.config.bag_of_tokens if bags is None else bags
        else:
            pooling, normalize = sentence_transformer_pooling(model.fetch())
            first_model = model.load_encoder()
            how |= {"chunk_pooling": pooling, "normalize_embeddings": normalize, "chunk_layers": options.chunk_layers}
            self.encoder = ChunkEncoder(first_model, chunker, **how)
        if self.encoder.device.type == "cpu":
            keep_freed_memory()
        if options.token_budget is None and self.encoder.device.type == "cuda":
            self.encoder.search_token_budget()

    def __call__(self, documents: pa.Table) -> pa.Table:
        shard = self.begin(documents)
        self.fill(shard)
        half = pa.array(self.fetch(shard).reshape(-1), pa.float16())
        rows = pa.FixedSizeListArray.from_arrays(half, self.encoder.hidden_size)
        columns: dict[str, Any] = {"_chunk_vectors": ragged(shard.views.chunk_offsets, rows)}
        if shard.bags is not None:
            columns |= bag_columns(shard.bags, "_")
        documents = with_columns(self.end(shard), columns)
        self.ended = time.perf_counter()
        return documents

    def begin(self, documents: pa.Table) -> EncodedShard:
        """A shard of which no chunk is encoded yet."""
        import torch

        from strideformer.token_bags import TokenBags

        started = time.perf_counter()
        views = read_views(documents)
        first = first_alike(views)
        views = without_repetitions(views, first)
        vectors = torch.full((views.num_chunks, self.encoder.hidden_size), float("nan"), device=self.encoder.device)
        bags = TokenBags.of(views, self.encoder.device) if self.bags else None
        wait = started - (self.ended or started)
        return EncodedShard(documents, views, first, vectors, wait, time.perf_counter() - started, bags)

    def fill(self, shard: EncodedShard, chunks: np.ndarray | None = None) -> None:
        """Encode chunks of a shard: all of them, or where the (num_chunks,) bool array is true.

        Raises:
            StrideformerError: the encoder has failed on every document of the shard.
        """
        import torch

        from strideformer.stopwatch import synchronize

        started = time.perf_counter()
        views, vectors = shard.views, shard.vectors

        def work(start: int, end: int) -> None:
            first, last = int(views.chunk_offsets[start]), int(views.chunk_offsets[end])
            some = slice_documents(views, start, end)
            if chunks is None and last > first:
                vectors[first:last] = self.encoder.encode_views(some)
            elif chunks is not None and chunks[first:last].any():
                chosen = np.flatnonzero(chunks[first:last])
                places = torch.from_numpy(chosen + first).to(vectors.device)
                vectors.index_copy_(0, places, self.encoder.encode_views(some, chosen))

        def failed(row: int, error: Exception) -> None:
            if is_device_failure(error):
                raise error
            shard.failures[row] = (OUT_OF_MEMORY if ran_out_of_memory(error) else "encoding_failed", str(error))

        bisect(0, views.num_documents, work, failed)
        refuse_common_fault(shard.failures, int(np.count_nonzero(views.chunk_counts)), "encoder")
        if chunks is not None:
            synchronize(self.encoder.device)  # what reads the vectors next would wait here, and be blamed for it
        shard.seconds += time.perf_counter() - started

    def fetch(self, shard: EncodedShard) -> np.ndarray:
        """(num_chunks, hidden_size) float16, the vectors of a shard on the host."""
        started = time.perf_counter()
        with self.encoder.copy_time.running():
            vectors: np.ndarray = shard.vectors.half().cpu().numpy()
        shard.seconds += time.perf_counter() - started
        return vectors

    def end(self, shard: EncodedShard) -> pa.Table:
        """The documents without their views, and what was measured.

        The row of a document that failed is marked for quarantine, and so are those of documents identical to it.
        """
        started = time.perf_counter()
        documents, first = shard.documents, shard.first
        present = [name for name in INTERNAL if name in documents.column_names]
        documents = quarantine(documents.drop_columns(present), failures_of_all(shard.failures, first))
        documents = with_columns(documents, {"_first_alike": pa.array(first)})
        forward, copy = self.encoder.forward_time.take(), self.encoder.copy_time.take()
        measures = {
            "wait": shard.wait,
            "encode": shard.seconds + time.perf_counter() - started,
            "copy": copy,
            "forward": forward,
            DUPLICATES: int(np.count_nonzero(first != np.arange(len(first)))),
        }
        return add_measures(documents, **measures)


def is_device_failure(error: BaseException) -> bool:
    """A CUDA fault poisons the process: no later call can succeed, so no document is to blame."""
    import torch

    accelerator_error = getattr(torch, "AcceleratorError", None)
    return (accelerator_error is not None and isinstance(error, accelerator_error)) or "CUDA error" in str(error)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a document alone does not fit the device."""
    from strideformer.micro_batches import is_out_of_memory

    return is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def refuse_common_fault(failures: Mapping[int, tuple[str, str]], documents: int, what: str) -> None:
    """Stop the job where all of a shard's documents fail alike.

    Raises:
        StrideformerError: that it is so.
    """
    if documents > 1 and len(failures) == documents:
        detail = next(iter(failures.values()))[1]
        raise StrideformerError(f"every document of a shard failed in the {what}, so the fault is not theirs: {detail}")


def failures_of_all(failures: Mapping[int, tuple[str, str]], first: np.ndarray) -> dict[int, tuple[str, str]]:
    """Failures of documents, and of all that are identical to them by ``first`` (`first_alike`)."""
    rows = np.flatnonzero(np.isin(first, list(failures))).tolist()
    return {row: failures[int(first[row])] for row in rows}


def slice_documents(views: ChunkViews, start: int, end: int) -> ChunkViews:
    """Views of the documents ``[start, end)``; the arrays are views of the same buffers."""
    tokens = views.token_offsets[start : end + 1]
    chunks = views.chunk_offsets[start : end + 1]
    first_ids, first_offsets = None, None
    if views.first_ids is not None and views.first_offsets is not None:
        firsts = views.first_offsets[start : end + 1]
        first_ids, first_offsets = views.first_ids[firsts[0] : firsts[-1]], firsts - firsts[0]
    return ChunkViews(
        token_ids=views.token_ids[tokens[0] : tokens[-1]],
        token_offsets=tokens - tokens[0],
        chunk_starts=views.chunk_starts[chunks[0] : chunks[-1]],
        chunk_lengths=views.chunk_lengths[chunks[0] : chunks[-1]],
        chunk_offsets=chunks - chunks[0],
        truncated=views.truncated[start:end],
        first_ids=first_ids,
        first_offsets=first_offsets,
    )
