"""DocumentAggregator: chunk vectors of ragged documents to logits, for inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strideformer.aggregator_options import is_regression
from strideformer.micro_batches import run_in_micro_batches, threads_for
from strideformer.model import Strideformer
from strideformer.one_thread import one_thread
from strideformer.packed_second_model import PackedSecondModel
from strideformer.stopwatch import Stopwatch
from strideformer.token_bags import TokenBags

# Padded chunks in one batch of documents. On a GPU 128 documents of 128 chunks: 25 MB of states for 384 wide vectors.
# On a CPU fewer, so that the inner states of a layer (4,096 wide, 32 MB in fp32) do not all go through memory.
CHUNK_BUDGET = {"cpu": 2048, "cuda": 16_384}


@dataclass(frozen=True)
class DocumentLogits:
    """What the aggregator says of documents and of each of their chunks.

    Attributes:
        logits: (num_documents, num_labels) float32; NaN for a document without chunks.
        chunk_logits: (num_chunks, num_labels) float32, in the order of the chunks. With mean and attention pooling the
            document's logits are their mean, so they say which passage made the label; with other poolings they are
            what the classifier says of the chunk's own state: see ``DocumentHead``.
    """

    logits: np.ndarray
    chunk_logits: np.ndarray


def second_model_dtype(device: torch.device, dtype: torch.dtype, regression: bool) -> torch.dtype:
    """The number format of the second model's weights and of what it adds up, beside an encoder in ``dtype``.

    The values of a regression may be years or prices, of which bf16 keeps three digits.
    """
    return dtype if device.type == "cuda" and not regression else torch.float32


class DocumentAggregator:
    """Runs the second model over documents of any number of chunks, padded and masked under a budget.

    It runs in the encoder's half precision on a GPU. On a CPU it multiplies in bf16 where the encoder does, which takes
    two fifths off the time of 24 layers, and adds and normalises in fp32. Regressions are in fp32 everywhere.

    Attributes:
        forward_time: how long the device computed in the second model.
    """

    def __init__(
        self,
        model: Strideformer,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        chunk_budget: int | None = None,
    ) -> None:
        self.device = device
        regression = is_regression(model.config)
        self.dtype = second_model_dtype(device, dtype, regression)
        self.num_labels = int(model.config.num_labels)
        self.model = model.eval()
        # float16 is what CPUs hardly multiply at all
        products = self.dtype if regression or dtype is torch.float16 else dtype
        with one_thread():
            for name, child in model.named_children():
                if name != "first_model":
                    child.to(device=device, dtype=torch.float32 if name == "bag_of_tokens" else self.dtype)
            self.second_model = PackedSecondModel(model.second_model, model.config.hidden_act, products)
        self.chunk_budget = chunk_budget or CHUNK_BUDGET.get(device.type, CHUNK_BUDGET["cpu"])
        self.forward_time = Stopwatch(device)

    @torch.inference_mode()
    def __call__(
        self,
        chunk_vectors: Tensor,
        chunk_offsets: np.ndarray,
        read: np.ndarray | None = None,
        bags: TokenBags | None = None,
    ) -> DocumentLogits:
        """Aggregate documents.

        Args:
            chunk_vectors: (num_chunks, width of the first model), all documents' chunks one after the other.
            chunk_offsets: (num_documents + 1,) int64, where each document's chunks start and end.
            read: (num_chunks,) bool, the chunks to go by; each keeps its place in its document. All of them if None.
            bags: the tokens of all these documents, for a model that has a ``BagOfTokens``; whole, whatever is read.

        Returns:
            The logits; NaN for documents and chunks of which nothing is read.
        """
        whole_counts = np.diff(chunk_offsets)
        chosen, starts, counts = None, chunk_offsets[:-1], whole_counts
        if read is not None:
            chosen = np.flatnonzero(read)
            read_before = np.concatenate([[0], np.cumsum(read)])[chunk_offsets]
            starts, counts = read_before[:-1], np.diff(read_before)
        vectors = chunk_vectors.to(self.device)
        logits = torch.full((len(counts), self.num_labels), float("nan"), device=self.device)
        chunk_logits = torch.full((len(vectors), self.num_labels), float("nan"), device=self.device)
        filled = np.flatnonzero(counts)
        filled = filled[np.argsort(-counts[filled], kind="stable")]

        token_logits: Tensor | None = None
        if self.model.bag_of_tokens is not None and bags is not None:
            with self.forward_time.running():
                token_logits = self.model.bag_of_tokens(*bags.tensors(self.device))

        def sent(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(self.device)

        @torch.inference_mode()
        def run(start: int, end: int) -> None:
            documents = filled[start:end]
            row_counts = counts[documents]
            chunks = _concatenated_ranges(starts[documents], row_counts)
            in_part: tuple[Tensor, ...] = ()
            if chosen is not None:
                chunks = chosen[chunks]
                places = chunks - np.repeat(chunk_offsets[documents], row_counts)
                in_part = (sent(places), sent(whole_counts[documents]))
            chunk_index = sent(chunks)
            counted = sent(row_counts)
            rows = sent(documents)
            of_tokens = None if token_logits is None else token_logits[rows]
            of_documents, of_chunks, _ = self.model.aggregate(
                vectors[chunk_index],
                counted,
                *in_part,
                second_model=self.second_model,
                token_logits=of_tokens,
            )
            logits[rows] = of_documents.float()
            chunk_logits[chunk_index] = of_chunks.float()

        threads = threads_for(len(filled)) if self.device.type == "cpu" else 1
        with self.forward_time.running():
            self.chunk_budget = run_in_micro_batches(counts[filled], self.chunk_budget, run, "document", threads)
        return DocumentLogits(logits.cpu().numpy(), chunk_logits.cpu().numpy())


def _concatenated_ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``[start, start + 1, … start + count - 1]`` of every pair, one after the other, as int64."""
    ends = np.cumsum(counts)
    ranges: np.ndarray = np.arange(ends[-1], dtype=np.int64) + np.repeat(starts - (ends - counts), counts)
    return ranges
