"""The curve of the benchmark is what reading in rounds at each confidence gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from strideformer import Strideformer
from strideformer.aggregation import DocumentAggregator
from strideformer.early_exit import read_in_rounds
from strideformer.predictions import LabelSpace
from tests.benchmarks.early_exit import at_confidence, point, read_rounds


def test_a_point_is_what_reading_in_rounds_gives(tiny_checkpoint: Path) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    aggregator, labels = DocumentAggregator(model, torch.device("cpu")), LabelSpace.of(model.config)
    counts = np.random.default_rng(0).integers(1, 30, 25)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    vectors = 2 * torch.randn(int(counts.sum()), 32, generator=torch.Generator().manual_seed(5))
    rounds = read_rounds(aggregator, labels, vectors, offsets)
    assert rounds.read[-1].tolist() == counts.tolist()
    truth = labels.labels(aggregator_scores := labels.scores(aggregator(vectors, offsets).logits)).argmax(axis=1)
    np.testing.assert_allclose(rounds.scores[-1], aggregator_scores, atol=1e-5)
    seen = set()
    for confidence in (0.4, 0.5, 0.6, 0.7, 0.99):
        logits, read = read_in_rounds(
            offsets, labels, confidence, lambda now, of_open: aggregator(vectors, offsets, of_open).logits
        )
        scores, chunks = at_confidence(rounds, labels, confidence)
        np.testing.assert_allclose(scores, labels.scores(logits), atol=1e-5)
        assert chunks.tolist() == np.add.reduceat(read.astype(np.int64), offsets[:-1]).tolist()
        found = point(confidence, labels, truth, rounds, scores, chunks)
        assert found.chunks == pytest.approx(100 * read.mean())
        assert found.accuracy == found.agreement == 100 * np.mean(scores.argmax(axis=1) == truth)
        assert (found.better, found.worse) == (0, round(25 * (1 - found.accuracy / 100)))
        seen.add(round(found.chunks))
    assert len(seen) > 2
