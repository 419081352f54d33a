from __future__ import annotations

import numpy as np
import pytest

from strideformer.training import TrainingOptions
from strideformer.training.batches import BudgetedBatches, pack
from strideformer.training.documents import EpochDataset
from tests.strideformer.training.separable import separable


def test_a_batch_costs_what_its_padded_chunks_do() -> None:
    order = np.array([2, 0, 1, 3])
    counts, widths = np.array([2, 1, 3, 9]), np.array([10, 20, 10, 10])
    assert pack(order, counts, widths, 50, 8) == [[2, 0], [1], [3]], "1 would widen five chunks; 3 is over by itself"
    assert pack(order, counts, widths, 10_000, 2) == [[2, 0], [1, 3]]
    assert pack(order, counts, widths, 10_000, None) == [[2, 0, 1, 3]], "the budget alone"


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (2, 3)])
def test_every_epoch_has_every_document_once_and_as_many_batches(world: int, accumulation: int) -> None:
    counts = np.random.default_rng(0).integers(1, 40, 100)
    options = TrainingOptions(epochs=6, budget=80, batch_size=8, gradient_accumulation_steps=accumulation)
    ranks = [BudgetedBatches(counts, np.ones(100, np.int64), options, rank, world) for rank in range(world)]
    orders = set()
    for epoch in range(6):
        seen: list[int] = []
        for rank in ranks:
            rank.set_epoch(epoch)
            batches = list(rank)
            assert len(batches) == len(rank) == len(ranks[0])
            assert len(batches) % accumulation == 0
            for batch in batches:
                assert {key[0] for key in batch} == {epoch}
                documents = [document for _, document in batch]
                assert len(documents) == 1 or counts[documents].sum() <= 80
                seen += documents
        assert sorted(seen) == list(range(100))
        orders.add(tuple(seen))
    assert len(orders) == 6, "shuffled anew in every epoch"


def test_documents_of_a_batch_are_of_similar_length_and_batches_in_any_order() -> None:
    counts = np.random.default_rng(0).integers(1, 129, 1000)
    options = TrainingOptions(epochs=2, budget=1 << 20, batch_size=16)
    batches = BudgetedBatches(counts, np.ones(1000, np.int64), options).batches(0)
    padded = sum(len(batch) * counts[batch].max() for batch in batches)
    assert padded < 1.4 * counts.sum(), "in random batches it is 1.8 times"
    longest = np.array([counts[batch].max() for batch in batches])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.4
    neighbours = [
        {
            (a, b)
            for batch in BudgetedBatches(counts, np.ones(1000, np.int64), options).batches(epoch)
            for a in batch
            for b in batch
            if a < b
        }
        for epoch in (0, 1)
    ]
    assert len(neighbours[0] & neighbours[1]) < 0.2 * len(neighbours[0]), "other neighbours in each epoch"


def test_fewer_documents_than_processes_are_seen_twice() -> None:
    options = TrainingOptions(epochs=1)
    ranks = [BudgetedBatches(np.ones(3, np.int64), np.ones(3, np.int64), options, rank, 4) for rank in range(4)]
    assert [len(list(rank)) for rank in ranks] == [1, 1, 1, 1]
    assert {document for rank in ranks for batch in rank for _, document in batch} == {0, 1, 2}


def test_an_epoch_sees_a_random_subset_of_chunks_in_their_order() -> None:
    documents = separable(20, 1)
    document = int(documents.chunk_counts.argmax())
    start = documents.chunk_offsets[document]
    dataset = EpochDataset(documents, max_chunks=4, seed=1)
    chosen = []
    for epoch in range(8):
        vectors = dataset[epoch, document]["chunk_vectors"]
        assert vectors.equal(dataset[epoch, document]["chunk_vectors"])
        rows = [int((documents.chunk_vectors[start:] == vector).all(dim=1).nonzero()[0]) for vector in vectors]
        assert rows == sorted(set(rows))
        assert len(rows) == 4
        chosen.append(tuple(rows))
    assert len(set(chosen)) > 1
    assert EpochDataset(documents)[0, document]["chunk_vectors"].shape[0] == documents.chunk_counts[document]
