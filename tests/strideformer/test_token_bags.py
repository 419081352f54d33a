from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from strideformer.chunking import Chunker
from strideformer.token_bags import TokenBags

TEXTS = ["court law court tax " * 9, "", "tax", "law law route server " * 3]
FIRSTS = ["court", "law tax", "", "the the"]


@pytest.fixture(scope="module")
def chunker(tiny_checkpoint: Path) -> Chunker:
    return Chunker(AutoTokenizer.from_pretrained(tiny_checkpoint), max_length=10, stride=2, max_chunks=4)


def counters(bags: TokenBags) -> list[dict[int, int]]:
    found = []
    for start, end in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
        ids = bags.ids[start:end].tolist()
        assert ids == sorted(set(ids))
        found.append(dict(zip(ids, bags.counts[start:end].tolist(), strict=True)))
    return found


def test_each_token_that_chunks_use_is_counted_once(chunker: Chunker) -> None:
    views = chunker.views(TEXTS)
    assert views.truncated[0], "the test wants a document whose end is not read"
    pieces = np.split(views.token_ids, views.token_offsets[1:-1])
    assert counters(TokenBags.of(views)) == [dict(Counter(ids.tolist())) for ids in pieces]


def test_both_texts_of_a_pair_count(chunker: Chunker) -> None:
    views = chunker.views(FIRSTS, TEXTS)
    assert views.first_ids is not None
    assert views.first_offsets is not None
    seconds = np.split(views.token_ids, views.token_offsets[1:-1])
    firsts = np.split(views.first_ids, views.first_offsets[1:-1])
    expected = [dict(Counter([*f.tolist(), *s.tolist()])) for f, s in zip(firsts, seconds, strict=True)]
    assert counters(TokenBags.of(views)) == expected


def test_some_documents_are_those_of_all(chunker: Chunker) -> None:
    bags = TokenBags.of(chunker.views(TEXTS))
    every = counters(bags)
    assert counters(bags.between(1, 3)) == every[1:3]
    assert counters(bags.take(np.array([3, 0, 0]))) == [every[3], every[0], every[0]]
    assert counters(TokenBags.join([bags.between(0, 1), bags.between(1, 1), bags.between(1, 4)])) == every
    features = bags.features(3)
    assert dict(zip(features["token_bag_ids"], features["token_bag_counts"], strict=True)) == every[3]


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_tokens_are_no_fault(chunker: Chunker, texts: list[str]) -> None:
    bags = TokenBags.of(chunker.views(texts))
    assert (len(bags), len(bags.ids), bags.sizes.tolist()) == (len(texts), 0, [0] * len(texts))
    assert TokenBags.join([bags, bags]).sizes.tolist() == [0] * 2 * len(texts)
