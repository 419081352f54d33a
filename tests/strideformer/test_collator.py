from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from strideformer import Strideformer, StrideformerCollator, StrideformerError

PAD = 7


class PaddingOnly:
    """All that the collator asks of a tokenizer; an id other than 0, so that a wrong fill shows."""

    pad_token_id = PAD


def document(*lengths: int, first: int = 10, **more: Any) -> dict[str, Any]:
    """Chunks of these lengths, of ids that count up."""
    ends = np.cumsum(lengths)
    ids = [list(range(first + end - length, first + end)) for end, length in zip(ends, lengths, strict=True)]
    return {"input_ids": ids, "attention_mask": [[1] * len(chunk) for chunk in ids], **more}


def collate(*features: dict[str, Any], max_chunks: int = 128) -> dict[str, torch.Tensor]:
    return StrideformerCollator(PaddingOnly(), max_chunks)(features)


def test_ragged_documents_become_padded_tensors() -> None:
    batch = collate(document(3, 1), document(2))
    assert batch.keys() == {"input_ids", "attention_mask", "chunk_counts"}
    assert batch["input_ids"].tolist() == [[10, 11, 12], [13, PAD, PAD], [10, 11, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert batch["chunk_counts"].tolist() == [2, 1]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_mask_that_is_given_is_kept_and_one_that_is_missing_is_made() -> None:
    feature = document(3, 2) | {"attention_mask": [[1, 0, 1], [1, 1]]}
    assert collate(feature)["attention_mask"].tolist() == [[1, 0, 1], [1, 1, 0]]
    del feature["attention_mask"]
    assert collate(feature)["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_token_types_are_padded_with_zero() -> None:
    batch = collate(document(3, 2, token_type_ids=[[0, 1, 1], [0, 1]]))
    assert batch["token_type_ids"].tolist() == [[0, 1, 1], [0, 1, 0]]


def test_max_chunks_holds_for_each_document() -> None:
    documents = [document(*[2] * count, token_type_ids=[[1, 1]] * count) for count in (3, 1, 5)]
    batch = collate(*documents, max_chunks=2)
    assert batch["chunk_counts"].tolist() == [2, 1, 2]
    assert batch["input_ids"].tolist() == [[10, 11], [12, 13], [10, 11], [10, 11], [12, 13]]
    assert batch["attention_mask"].shape == batch["token_type_ids"].shape == (5, 2)


def test_tokens_beyond_max_chunks_do_not_widen_the_batch() -> None:
    assert collate(document(2, 9), max_chunks=1)["input_ids"].tolist() == [[10, 11]]


@pytest.mark.parametrize("name", ["label", "labels"])
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([2, 0], torch.int64),
        ([np.int32(2), np.int32(0)], torch.int64),
        ([0.5, 2.0], torch.float32),
        ([[1, 0, 1], [0, 0, 1]], torch.float32),
        ([[0.5, 1.0], [2.0, -1.0]], torch.float32),
    ],
)
def test_labels_of_classes_numbers_and_rows(name: str, labels: list[Any], dtype: torch.dtype) -> None:
    batch = collate(*(document(2, **{name: label}) for label in labels))
    assert batch["labels"].dtype == dtype
    assert batch["labels"].tolist() == np.asarray(labels).tolist()
    assert "label" not in batch


@pytest.mark.parametrize("kind", [np.float16, np.float32, list])
def test_chunk_vectors_in_place_of_ids(kind: Any) -> None:
    vectors = [np.arange(12.0).reshape(3, 4), np.ones((1, 4))]
    given = [array.tolist() if kind is list else array.astype(kind) for array in vectors]
    batch = collate(*({"chunk_vectors": array, "label": 1} for array in given), max_chunks=2)
    assert batch.keys() == {"chunk_vectors", "chunk_counts", "labels"}
    assert batch["chunk_vectors"].dtype == torch.float32
    assert batch["chunk_vectors"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [1, 1, 1, 1]]
    assert batch["chunk_counts"].tolist() == [2, 1]


def test_chunk_vectors_may_be_tensors_of_any_type() -> None:
    given = [torch.ones(2, 4, dtype=torch.bfloat16), torch.zeros(1, 4, requires_grad=True)]
    batch = collate(*({"chunk_vectors": tensor, "label": 1} for tensor in given))
    assert batch["chunk_vectors"].tolist() == [[1] * 4, [1] * 4, [0] * 4]
    assert not batch["chunk_vectors"].requires_grad


def test_no_document_is_refused() -> None:
    with pytest.raises(StrideformerError, match="a batch needs at least one document"):
        collate()


@pytest.mark.parametrize("empty", [{"input_ids": []}, {"chunk_vectors": np.zeros((0, 4))}])
def test_document_without_chunks_is_refused_with_its_place(empty: dict[str, Any]) -> None:
    full = document(2) if "input_ids" in empty else {"chunk_vectors": np.zeros((1, 4))}
    with pytest.raises(StrideformerError, match="document 1 of the batch has no chunks"):
        collate(full, empty)


def test_max_chunks_below_one_is_refused() -> None:
    with pytest.raises(StrideformerError, match="max_chunks=0 must be at least 1"):
        StrideformerCollator(PaddingOnly(), 0)


def test_batch_has_the_logits_of_each_document_alone(tiny_checkpoint: Path) -> None:
    model = Strideformer.from_pretrained(tiny_checkpoint)
    collator = StrideformerCollator(AutoTokenizer.from_pretrained(tiny_checkpoint), max_chunks=3)
    documents = [
        document(*lengths, first=first, token_type_ids=[[index % 2] * length for length in lengths])
        for index, (lengths, first) in enumerate([((6, 3), 5), ((9,), 30), ((2, 4, 5, 1), 20)])
    ]
    with torch.no_grad():
        together = model(**collator(documents)).logits
        alone = torch.cat([model(**collator([each])).logits for each in documents])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert torch.pdist(together).min() > 0.01
