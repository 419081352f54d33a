"""The aggregate stage: chunk vectors, regrouped by document, to labels.

torch is imported where it is used: the driver names the stages and must not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.measures import add_measures, measures_of
from jobs.model_source import ModelSource
from jobs.stages.columns import BAG_COLUMNS, REASON, bisect, flat, quarantine, read_bags, with_columns
from jobs.stages.encode import (
    OUT_OF_MEMORY,
    Encode,
    EncoderOptions,
    failures_of_all,
    is_device_failure,
    ran_out_of_memory,
    refuse_common_fault,
)
from strideformer.early_exit import read_in_rounds, tokens_read
from strideformer.predictions import LabelSpace

if TYPE_CHECKING:
    import torch

    from strideformer.model import Strideformer
    from strideformer.token_bags import TokenBags


def label_type(labels: LabelSpace) -> pa.DataType:
    """A string; a list of strings for multi-label models."""
    multi = labels.problem_type == "multi_label_classification"
    return pa.list_(pa.string()) if multi else pa.string()


def scores_type(labels: LabelSpace) -> pa.DataType:
    """A struct with one float32 a label, so that a query can name the label that it wants."""
    return pa.struct([pa.field(name, pa.float32()) for name in labels.names])


class Aggregate:
    """Chunk vectors → label, score and scores, for one whole shard.

    Needs   _chunk_vectors: large_list<fixed_size_list<float16, hidden_size>>, _first_alike: int64; and, where the
            model reads them, _token_bag_ids: large_list<uint32>, _token_bag_counts: large_list<int32>
    Adds    label: string (list<string> for multi-label), score: float32, scores: struct<label: float32, …>;
            measures: aggregate, aggregate_forward; wait, added to the encoder's, where it was not in this actor
    Drops   what it needs
    Quarantines documents whose logits are not finite, with reason ``not_finite``; those that the aggregator fails
    on, with ``aggregation_failed``; and those that alone are too large for the device, with ``out_of_memory``.

    Attributes:
        ended: as Encode's, of an actor that only aggregates.
    """

    ended: float | None = None

    def __init__(self, model: ModelSource, options: EncoderOptions, strideformer: Strideformer | None = None) -> None:
        import torch

        from strideformer.aggregation import DocumentAggregator
        from strideformer.devices import choose_device, choose_dtype

        torch.set_num_threads(options.threads)
        device = choose_device(options.device)
        strideformer = strideformer or model.load()
        self.labels = LabelSpace.of(strideformer.config)
        self.reads_bags = bool(strideformer.config.bag_of_tokens)
        self.seconds = 0.0  # spent on the shard at hand
        dtype = choose_dtype(options.dtype, device, strideformer.config.first_model_config.dtype)  # as the encoder does
        self.aggregator = DocumentAggregator(strideformer, device, dtype)

    def __call__(self, documents: pa.Table) -> pa.Table:
        import torch

        started = time.perf_counter()
        waited = float(measures_of(documents).get("wait", 0.0)) + started - (self.ended or started)
        offsets, vectors = flat(documents, "_chunk_vectors")
        hidden_size = vectors.type.list_size
        values = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, hidden_size)
        tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
        self.seconds += time.perf_counter() - started
        bags = None
        if self.reads_bags:
            bags = read_bags(documents, "_")
            documents = documents.drop_columns([f"_{name}" for name in BAG_COLUMNS])
        labelled = self.label(documents.drop_columns(["_chunk_vectors"]), tensor, offsets, bags)
        self.ended = time.perf_counter()
        return add_measures(labelled, wait=waited)

    def label(
        self, documents: pa.Table, vectors: torch.Tensor, chunk_offsets: np.ndarray, bags: TokenBags | None = None
    ) -> pa.Table:
        """Label documents from their vectors, which never leave the device when it encoded them too."""
        failures: dict[int, tuple[str, str]] = {}
        logits = self.logits(vectors, chunk_offsets, failures, bags=bags)
        return self.labelled(documents, logits, failures)

    def logits(
        self,
        vectors: torch.Tensor,
        chunk_offsets: np.ndarray,
        failures: dict[int, tuple[str, str]],
        read: np.ndarray | None = None,
        bags: TokenBags | None = None,
    ) -> np.ndarray:
        """Aggregate documents, each by itself where one fails.

        Vectors are rounded to float16 first, so that a job gives the same labels whether or not its
        aggregators have a pool of their own.

        Args:
            vectors: (num_chunks, hidden_size), of any floating type, on the device.
            chunk_offsets: (num_documents + 1,) int64.
            failures: takes up the documents that the aggregator fails on, with reason and detail.
            read: (num_chunks,) bool, the chunks to go by; all of them if None.
            bags: the tokens of the documents, where the model reads them.

        Returns:
            (num_documents, num_labels) float32, NaN for documents that failed or have nothing to go by.

        Raises:
            StrideformerError: the aggregator has failed on every document.
        """
        started = time.perf_counter()
        logits = np.full((len(chunk_offsets) - 1, self.aggregator.num_labels), np.nan, np.float32)
        vectors = vectors.half()

        def work(start: int, end: int) -> None:
            first, last = int(chunk_offsets[start]), int(chunk_offsets[end])
            chosen = None if read is None else read[first:last]
            if last > first if chosen is None else chosen.any():
                offsets = chunk_offsets[start : end + 1] - first
                of_tokens = None if bags is None else bags.between(start, end)
                logits[start:end] = self.aggregator(vectors[first:last], offsets, chosen, of_tokens).logits

        def failed(row: int, error: Exception) -> None:
            if is_device_failure(error):
                raise error
            failures[row] = (OUT_OF_MEMORY if ran_out_of_memory(error) else "aggregation_failed", str(error))

        bisect(0, len(logits), work, failed)
        refuse_common_fault(failures, int(np.count_nonzero(np.diff(chunk_offsets))), "aggregator")
        self.seconds += time.perf_counter() - started
        return logits

    def labelled(self, documents: pa.Table, logits: np.ndarray, failures: Mapping[int, tuple[str, str]]) -> pa.Table:
        """Documents with their labels; those identical to one before them have its logits, and its failure."""
        started = time.perf_counter()
        first = documents.column("_first_alike").to_numpy()
        logits = logits[first]
        marks = failures_of_all(failures, first)
        finite: np.ndarray = np.isfinite(logits).all(axis=1)
        unmarked = documents.column(REASON).is_null().to_numpy()
        for row in np.flatnonzero(unmarked & ~finite).tolist():
            marks.setdefault(row, ("not_finite", "the model's logits for this document are NaN or infinite"))
        scores = self.labels.scores(np.where(finite[:, None], logits, 0))
        documents = quarantine(documents.drop_columns(["_first_alike"]), marks)
        documents = with_columns(documents, _label_columns(self.labels, scores))
        seconds, self.seconds = self.seconds + time.perf_counter() - started, 0.0
        return add_measures(documents, aggregate=seconds, aggregate_forward=self.aggregator.forward_time.take())


class EncodeAndAggregate:
    """Encode and Aggregate in one actor: the vectors stay on the device.

    With early exit it also
    Adds    chunks_encoded: int32, how many chunks of the document were read
    Changes num_tokens, to the tokens of those chunks.
    """

    def __init__(self, model: ModelSource, options: EncoderOptions) -> None:
        strideformer = model.load()
        self.encode = Encode(model, options, strideformer)
        self.aggregate = Aggregate(model, options, strideformer)
        self.early_exit = options.early_exit

    def __call__(self, documents: pa.Table) -> pa.Table:
        if self.early_exit is None:
            shard = self.encode.begin(documents)
            self.encode.fill(shard)
            offsets = shard.views.chunk_offsets
            labelled = self.aggregate.label(self.encode.end(shard), shard.vectors, offsets, shard.bags)
        else:
            labelled = self.label_early(documents, self.early_exit)
        self.encode.ended = time.perf_counter()
        return labelled

    def label_early(self, documents: pa.Table, confidence: float) -> pa.Table:
        """Read each document of a shard in rounds, until its label is sure."""
        shard = self.encode.begin(documents)
        views = shard.views
        failures: dict[int, tuple[str, str]] = {}

        def step(now: np.ndarray, read: np.ndarray) -> np.ndarray:
            self.encode.fill(shard, now)
            return self.aggregate.logits(shard.vectors, views.chunk_offsets, failures, read, shard.bags)

        logits, read = read_in_rounds(views.chunk_offsets, self.aggregate.labels, confidence, step)
        encoded = np.diff(np.concatenate([[0], np.cumsum(read)])[views.chunk_offsets])
        columns = {
            "num_tokens": pa.array(tokens_read(views, read)[shard.first]),
            "chunks_encoded": pa.array(encoded[shard.first].astype(np.int32)),
        }
        return self.aggregate.labelled(with_columns(self.encode.end(shard), columns), logits, failures)


def _label_columns(labels: LabelSpace, scores: np.ndarray) -> dict[str, pa.Array]:
    """The output columns of (num_documents, num_labels) float32 scores."""
    given = labels.labels(scores)
    names = pa.array(labels.names, pa.string())
    if labels.problem_type == "multi_label_classification":
        offsets = np.concatenate([[0], np.cumsum(given.sum(axis=1))]).astype(np.int32)
        label = pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(np.nonzero(given)[1])))
    elif labels.problem_type == "regression":
        label = pa.nulls(len(scores), pa.string())
    else:
        label = names.take(pa.array(given.argmax(axis=1)))
    columns = [pa.array(np.ascontiguousarray(scores[:, index])) for index in range(len(labels.names))]
    fields = list(scores_type(labels))
    return {
        "label": label,
        "score": pa.array(labels.best(scores).astype(np.float32)),
        "scores": pa.StructArray.from_arrays(columns, fields=fields),
    }
