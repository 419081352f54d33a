from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strideformer import duplicates
from strideformer.chunking import ChunkViews
from strideformer.duplicates import chunks_with_repetitions, first_alike, without_repetitions


def views_of(documents: list[list[int]], firsts: list[list[int]] | None = None, chunk: int = 3) -> ChunkViews:
    """Chunks of three tokens without overlap; None of a document is told from its ids."""
    counts = [-(-len(ids) // chunk) for ids in documents]
    return ChunkViews(
        token_ids=np.array([token for ids in documents for token in ids], np.uint16),
        token_offsets=np.cumsum([0, *map(len, documents)]),
        chunk_starts=np.array([start for ids in documents for start in range(0, len(ids), chunk)], np.int32),
        chunk_lengths=np.array(
            [min(chunk, len(ids) - start) for ids in documents for start in range(0, len(ids), chunk)], np.int32
        ),
        chunk_offsets=np.cumsum([0, *counts]),
        truncated=np.zeros(len(documents), bool),
        first_ids=None if firsts is None else np.array([token for ids in firsts for token in ids], np.uint16),
        first_offsets=None if firsts is None else np.cumsum([0, *map(len, firsts)]),
    )


@pytest.mark.parametrize("keys", ["real", "all the same"])
@given(documents=st.lists(st.lists(st.integers(0, 1), max_size=5), max_size=12))
def test_the_first_alike_is_what_comparing_all_pairs_finds(keys: str, documents: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if keys == "all the same":
            patch.setattr(duplicates, "document_keys", lambda views: np.zeros(views.num_documents, np.uint64))
        found = first_alike(views_of(documents))
    # A document without chunks is one that was quarantined: it is like no other.
    assert found.tolist() == [documents.index(ids) if ids else row for row, ids in enumerate(documents)]


def test_documents_that_differ_where_no_sample_is_taken_are_told_apart() -> None:
    long = list(range(1000))
    other = [*long[:500], 7, *long[501:]]
    views = views_of([long, other, long])
    keys = duplicates.document_keys(views)
    assert keys[0] == keys[1], "the test needs two documents of one key"
    assert first_alike(views).tolist() == [0, 1, 0]


def test_pairs_are_alike_only_if_both_texts_are() -> None:
    views = views_of([[1, 2]] * 4, [[5], [6], [5], [5, 5]])
    assert first_alike(views).tolist() == [0, 1, 0, 3]


def test_repetitions_lose_their_chunks_and_nothing_else() -> None:
    views = views_of([[1, 2, 3, 4], [5], [1, 2, 3, 4], [6]])
    left = without_repetitions(views, first_alike(views))
    assert left.chunk_counts.tolist() == [2, 1, 0, 1]
    assert left.chunk_starts.tolist() == [0, 3, 0, 0]
    assert left.chunk_lengths.tolist() == [3, 1, 1, 1]
    assert left.token_ids is views.token_ids
    assert left.num_tokens.tolist() == [4, 1, 4, 1]


@given(documents=st.lists(st.lists(st.integers(0, 1), max_size=5), max_size=12))
def test_every_document_finds_its_chunks_again(documents: list[list[int]]) -> None:
    views = views_of(documents)
    first = first_alike(views)
    left = without_repetitions(views, first)
    found = chunks_with_repetitions(first, left.chunk_offsets, views.chunk_counts)
    np.testing.assert_array_equal(left.chunk_starts[found], views.chunk_starts)
    owner = np.repeat(np.arange(left.num_documents), left.chunk_counts)
    np.testing.assert_array_equal(owner[found], np.repeat(first, views.chunk_counts))


def test_no_documents() -> None:
    assert first_alike(views_of([])).tolist() == []
