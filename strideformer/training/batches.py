"""Batches of documents under a budget of chunks or tokens, the same number of them in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from strideformer.training.documents import Documents, EpochDataset, Key
from strideformer.training.options import TrainingOptions

# A document's length is taken for this share of what it is, another in every epoch, when alike ones are put together.
LENGTHS_TOGETHER = (0.7, 1.3)

Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]


def pack(
    order: np.ndarray, counts: np.ndarray, widths: np.ndarray, budget: int, batch_size: int | None
) -> list[list[int]]:
    """Documents in this order to batches, each filled up before the next begins.

    A batch costs what its padded chunks do: the number of them times the width of the widest.

    Args:
        order: (documents,) int64.
        counts: chunks of each document that there is.
        widths: what each of a document's chunks costs.
        budget: most that a batch costs, unless it is of one document.
        batch_size: most documents in it; None leaves it to the budget.
    """
    batches: list[list[int]] = []
    chunks = width = 0
    for document, count, wide in zip(order.tolist(), counts[order].tolist(), widths[order].tolist(), strict=True):
        chunks, width = chunks + count, max(width, wide)
        if not batches or len(batches[-1]) == batch_size or chunks * width > budget:
            batches.append([])
            chunks, width = count, wide
        batches[-1].append(document)
    return batches


class BudgetedBatches(Sampler[list[Key]]):
    """The (epoch, document) keys of one process's batches, shuffled anew in every epoch.

    Documents of similar length share a batch, since the second model pads each to the longest: 16 of SCOTUS's oral
    arguments at random, of 51 chunks on average, are padded to 110. Who is whose neighbour and the order of the batches
    are random.

    Every epoch has the same number of batches, a multiple of the processes times the gradient accumulation steps:
    so every process takes part in every step, no step is of fewer batches, and a step's number tells its epoch, by
    which training resumes. An epoch that packs into fewer has its largest batches halved.

    Args:
        counts, widths, options: as for ``pack``.
        rank, world: this process, and how many there are.
    """

    def __init__(
        self, counts: np.ndarray, widths: np.ndarray, options: TrainingOptions, rank: int = 0, world: int = 1
    ) -> None:
        self.counts = counts if options.train_max_chunks is None else np.minimum(counts, options.train_max_chunks)
        self.widths = widths
        self.options = options
        self.rank, self.world = rank, world
        self.epoch = 0
        most = max(len(self._packed(epoch)) for epoch in range(options.epochs))
        together = world * options.gradient_accumulation_steps
        self.total = -(-most // together) * together

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.total // self.world

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches(self.epoch)[self.rank :: self.world]:
            yield [(self.epoch, document) for document in batch]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of all processes."""
        packed = self._packed(epoch)
        while len(packed) < self.total:
            index = max(range(len(packed)), key=lambda i: len(packed[i]))
            batch = packed[index]
            if len(batch) == 1:  # fewer documents than processes: some are seen twice
                packed += packed[: self.total - len(packed)]
            else:
                packed[index : index + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        return packed

    def _packed(self, epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((self.options.seed, epoch))
        order = np.argsort(self.counts * generator.uniform(*LENGTHS_TOGETHER, len(self.counts)), kind="stable")
        packed = pack(order, self.counts, self.widths, self.options.budget, self.options.batch_size)
        return [packed[index] for index in generator.permutation(len(packed))]


class EpochLoader(DataLoader[dict[str, Tensor]]):
    """A DataLoader whose batches know their epoch: the Trainer sets it by this method."""

    batch_sampler: BudgetedBatches

    def set_epoch(self, epoch: int) -> None:
        """Of a loader that skips batches, transformers has wrapped the sampler once."""
        getattr(self.batch_sampler, "batch_sampler", self.batch_sampler).set_epoch(epoch)


def training_batches(
    documents: Documents, collate: Collate, options: TrainingOptions, rank: int = 0, world: int = 1
) -> EpochLoader:
    """The batches that one process trains on."""
    dataset = EpochDataset(documents, options.train_max_chunks, options.seed)
    sampler = BudgetedBatches(documents.chunk_counts, documents.chunk_widths, options, rank, world)
    # A generator of its own: what a loader draws must not move the dropout of a run that goes on after a kill.
    generator = torch.Generator().manual_seed(options.seed)
    return EpochLoader(dataset, batch_sampler=sampler, collate_fn=collate, generator=generator)
