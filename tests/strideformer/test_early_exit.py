from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from strideformer import Chunker, Strideformer, StrideformerError
from strideformer.aggregation import DocumentAggregator
from strideformer.aggregator_options import CHUNK_POSITIONS
from strideformer.early_exit import read_in_rounds, reading_order, reading_rounds, tokens_read
from strideformer.predictions import LabelSpace
from tests.tiny import save_tiny_checkpoint, texts

LABELS = LabelSpace(("a", "b"), "single_label_classification")
SURE, UNSURE = (9.0, -9.0), (0.1, 0.0)


@pytest.mark.parametrize("num_chunks", [*range(18), 100, 127, 128, 129, 1000])
def test_every_beginning_of_the_reading_order_is_spread_over_the_document(num_chunks: int) -> None:
    order = reading_order(num_chunks)
    assert sorted(order.tolist()) == list(range(num_chunks))
    for read in (1, 2, 4, 8, 16, 32, 64):
        if read < num_chunks:
            edges = [*np.sort(order[:read]).tolist(), num_chunks]
            assert edges[0] == 0
            widest = max(after - before for before, after in pairwise(edges))
            assert widest <= 2 * num_chunks / read + 1  # an even spread has num_chunks / read


def test_powers_of_two_are_spread_evenly() -> None:
    assert reading_order(16)[:8].tolist() == [0, 8, 4, 12, 2, 10, 6, 14]
    assert np.sort(reading_order(128)[:16]).tolist() == list(range(0, 128, 8))


def test_rounds_double_until_everything_is_read() -> None:
    counts = np.array([0, 3, 128, 5, 1])
    rounds = np.split(reading_rounds(counts, first_round=4), np.cumsum(counts)[:-1])
    assert [np.bincount(each).tolist() for each in rounds] == [[], [3], [4, 4, 8, 16, 32, 64], [4, 1], [1]]
    assert np.bincount(reading_rounds(np.array([40]), first_round=2, growth=1.5)).tolist() == [
        2,
        1,
        1,
        2,
        3,
        4,
        6,
        9,
        12,
    ]
    assert len(reading_rounds(np.array([], np.int64))) == 0


def test_a_document_is_read_until_it_is_sure() -> None:
    counts = np.array([20, 0, 20, 3, 20, 20])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    owners = np.repeat(np.arange(6), counts)
    # logits once so many chunks are read: the first is sure at once, the fourth document is short, the fifth fails
    sure_from = {0: 1, 2: 5, 3: 99, 5: 99}
    encoded: list[list[int]] = []
    aggregated: list[list[int]] = []

    def step(now: np.ndarray, read: np.ndarray) -> np.ndarray:
        encoded.append(np.bincount(owners[now], minlength=6).tolist())
        aggregated.append(np.bincount(owners[read], minlength=6).tolist())
        logits = np.full((6, 2), np.nan)
        for document, needed in sure_from.items():
            logits[document] = SURE if aggregated[-1][document] >= needed else UNSURE
        return logits

    logits, read = read_in_rounds(offsets, LABELS, 0.9, step, first_round=4)
    assert encoded == [[4, 0, 4, 3, 4, 4], [0, 0, 4, 0, 0, 4], [0, 0, 0, 0, 0, 8], [0, 0, 0, 0, 0, 4]]
    assert aggregated == [[4, 0, 4, 3, 4, 4], [0, 0, 8, 0, 0, 8], [0, 0, 0, 0, 0, 16], [0, 0, 0, 0, 0, 20]]
    assert np.bincount(owners[read], minlength=6).tolist() == [4, 0, 8, 3, 4, 20]
    np.testing.assert_allclose(logits[[0, 2, 3, 5]], [SURE, SURE, UNSURE, UNSURE], atol=1e-6)
    assert np.isnan(logits[[1, 4]]).all()


def test_nothing_to_read_takes_no_step() -> None:
    def step(now: np.ndarray, read: np.ndarray) -> np.ndarray:
        raise AssertionError

    for offsets in ([0], [0, 0, 0]):
        logits, read = read_in_rounds(np.array(offsets), LABELS, 0.9, step)
        assert logits.shape == (len(offsets) - 1, 2)
        assert not len(read)


def test_tokens_read_are_counted_once(tiny_checkpoint: Path) -> None:
    views = Chunker(AutoTokenizer.from_pretrained(tiny_checkpoint), 16, 4, 8).views(texts(12, 90))
    np.testing.assert_array_equal(tokens_read(views, np.ones(views.num_chunks, bool)), views.num_tokens)
    np.testing.assert_array_equal(tokens_read(views, np.zeros(views.num_chunks, bool)), np.zeros(12))
    read = np.random.default_rng(0).random(views.num_chunks) < 0.5
    expected = []
    for document in range(12):
        tokens: set[int] = set()
        for chunk in range(views.chunk_offsets[document], views.chunk_offsets[document + 1]):
            start = int(views.chunk_starts[chunk])
            tokens |= set(range(start, start + int(views.chunk_lengths[chunk]))) if read[chunk] else set()
        expected.append(len(tokens))
    assert tokens_read(views, read).tolist() == expected


@pytest.mark.parametrize("chunk_positions", CHUNK_POSITIONS)
def test_chunks_keep_their_places_when_others_are_not_read(tmp_path: Path, chunk_positions: str) -> None:
    folder = save_tiny_checkpoint(
        tmp_path / "m", chunk_positions=chunk_positions, document_pooling="mean", chunk_vector_norm="layer"
    )
    model = Strideformer.from_pretrained(folder)
    aggregator = DocumentAggregator(model, torch.device("cpu"))
    counts = np.array([8, 0, 3, 7, 1])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    vectors = torch.randn(int(counts.sum()), 32, generator=torch.Generator().manual_seed(2))
    whole = aggregator(vectors, offsets)
    marked = aggregator(vectors, offsets, np.ones(len(vectors), bool))
    np.testing.assert_allclose(marked.logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(marked.chunk_logits, whole.chunk_logits, atol=1e-5)
    read = np.zeros(len(vectors), bool)
    read[[0, 5, 7, 9, 10, 11, 14]] = True
    found = aggregator(vectors, offsets, read)
    assert np.isnan(found.logits[[1, 4]]).all()
    assert np.isnan(found.chunk_logits[~read]).all()
    # What is not read counts as padding does: the same as all inputs with the others masked.
    scaled = model.chunk_inputs.scaled(vectors)
    for document in (0, 2, 3):
        rows = slice(int(offsets[document]), int(offsets[document + 1]))
        kept = torch.from_numpy(read[rows]).unsqueeze(0)
        with torch.inference_mode():
            inputs = model.chunk_inputs(scaled[rows].unsqueeze(0), torch.tensor([int(counts[document])]))
            states = model.second_model(inputs, kept)
            logits, _ = model.document_head(states, scaled[rows].unsqueeze(0), kept, model.classifier)
        np.testing.assert_allclose(found.logits[document], logits[0].numpy(), atol=1e-5)


def test_confidence_of_one_label_is_its_probability() -> None:
    scores = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    assert LABELS.confidence(scores).tolist() == pytest.approx([0.8, 0.6])


def test_confidence_of_several_labels_is_that_of_the_least_sure() -> None:
    scores = np.array([[0.9, 0.05], [0.9, 0.4], [1.0, 0.0]], np.float32)
    space = LabelSpace(("a", "b"), "multi_label_classification")
    assert space.confidence(scores).tolist() == pytest.approx([0.9, 0.6, 1.0])
    shifted = LabelSpace(("a", "b"), "multi_label_classification", thresholds=(0.8, 0.2))
    assert shifted.confidence(np.array([[0.9, 0.1], [0.8, 0.0]], np.float32)).tolist() == pytest.approx([0.75, 0.5])
    extreme = LabelSpace(("a", "b"), "multi_label_classification", thresholds=(0.0, 1.0))
    assert extreme.confidence(np.array([[0.0, 1.0]], np.float32)).tolist() == [0.5]


def test_a_regression_is_never_sure() -> None:
    with pytest.raises(StrideformerError, match="does not say how sure"):
        LabelSpace(("value",), "regression").confidence(np.zeros((1, 1), np.float32))
