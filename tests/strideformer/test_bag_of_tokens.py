from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from strideformer import Strideformer, StrideformerCollator
from strideformer.aggregation import DocumentAggregator
from strideformer.aggregator_options import POOLINGS_OF_LOGITS
from strideformer.bag_of_tokens import BagOfTokens
from strideformer.errors import StrideformerError
from strideformer.token_bags import TokenBags
from tests.strideformer.small_models import COUNTS, close, make

TRAINING = [[1, 1, 2], [2, 3, 3, 3], [1, 4], [5, 2]]
OTHERS = [[1, 2, 2, 5], [9, 9, 3], [], [4] * 50 + [1]]
VECTORS = torch.randn(int(COUNTS.sum()), 32, generator=torch.Generator().manual_seed(4))


def bags_of(documents: list[list[int]]) -> TokenBags:
    found = [np.unique(np.array(ids, np.uint32), return_counts=True) for ids in documents]
    return TokenBags.join([TokenBags(i, c.astype(np.int32), np.array([0, len(i)])) for i, c in found])


def make_bag(**changes: Any) -> Strideformer:
    """Fitted, and with weights that are not 0, as training would leave them."""
    model = make(bag_of_tokens=True, **changes)
    assert model.bag_of_tokens is not None
    model.bag_of_tokens.fit(bags_of(TRAINING))
    torch.nn.init.normal_(model.bag_of_tokens.weight, std=2.5)
    return model


def inputs(bags: TokenBags) -> dict[str, torch.Tensor]:
    return dict(zip(("token_bag_ids", "token_bag_counts", "token_bag_sizes"), bags.tensors(), strict=True))


def test_rows_are_those_of_scikit_learn() -> None:
    """Which leaves out tokens that no document had when it was fitted."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, analyzer=lambda ids: ids)
    vectorizer.fit(TRAINING)
    rows = vectorizer.transform(OTHERS).toarray()
    bag = make_bag().bag_of_tokens
    assert isinstance(bag, BagOfTokens)
    columns = bag.weight.detach()[[int(token) for token in vectorizer.get_feature_names_out()]]
    close(bag(*bags_of(OTHERS).tensors()), torch.from_numpy(rows).float() @ columns, 1e-4)


def test_a_new_one_says_nothing_and_learns() -> None:
    model, plain = make(bag_of_tokens=True), make()
    model.load_state_dict(plain.state_dict(), strict=False)
    given = inputs(bags_of(OTHERS))
    output = model(chunk_vectors=VECTORS, chunk_counts=COUNTS, labels=torch.tensor([0, 1, 2, 1]), **given)
    close(output.logits, plain(chunk_vectors=VECTORS, chunk_counts=COUNTS).logits)
    output.loss.backward()
    assert model.bag_of_tokens is not None
    assert model.bag_of_tokens.weight.grad is not None
    moved = model.bag_of_tokens.weight.grad.abs().sum(dim=1).nonzero().squeeze(1).tolist()
    assert moved == [1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize("pooling", POOLINGS_OF_LOGITS)
def test_it_adds_the_same_to_a_document_and_its_chunks(pooling: str) -> None:
    model = make_bag(document_pooling=pooling)
    bags = bags_of(OTHERS)
    output = model(chunk_vectors=VECTORS, chunk_counts=COUNTS, **inputs(bags))
    plain = make(document_pooling=pooling)
    plain.load_state_dict(model.state_dict(), strict=False)
    before = plain(chunk_vectors=VECTORS, chunk_counts=COUNTS)
    assert model.bag_of_tokens is not None
    added = model.bag_of_tokens(*bags.tensors())
    assert added[2].abs().max() == 0
    assert added.abs().max() > 0.5
    close(output.logits - before.logits, added)
    close(output.chunk_logits - before.chunk_logits, added.repeat_interleave(COUNTS, dim=0))
    starts = (COUNTS.cumsum(0) - COUNTS).tolist()
    means = [output.chunk_logits[s : s + c].mean(dim=0) for s, c in zip(starts, COUNTS.tolist(), strict=True)]
    close(output.logits, torch.stack(means))


def test_in_any_batch_and_half_precision_it_is_the_same() -> None:
    model, bags = make_bag(), bags_of(OTHERS)
    expected = model(chunk_vectors=VECTORS, chunk_counts=COUNTS, **inputs(bags)).logits.detach()
    offsets = np.concatenate([[0], COUNTS.cumsum(0).numpy()])
    for budget in (1, 10_000):
        aggregator = DocumentAggregator(model, torch.device("cpu"), chunk_budget=budget)
        close(torch.from_numpy(aggregator(VECTORS, offsets, bags=bags).logits), expected)
    half = model.bfloat16()(chunk_vectors=VECTORS.bfloat16(), chunk_counts=COUNTS, **inputs(bags)).logits
    close(half.float(), expected, 0.2)


def test_the_collator_takes_the_bags_of_documents() -> None:
    class Tokenizer:
        pad_token_id = 0

    model, bags = make_bag(), bags_of(OTHERS)
    parts = VECTORS.split(COUNTS.tolist())
    features = [{"chunk_vectors": part} | bags.features(document) for document, part in enumerate(parts)]
    batch = StrideformerCollator(Tokenizer())(features)
    close(model(**batch).logits, model(chunk_vectors=VECTORS, chunk_counts=COUNTS, **inputs(bags)).logits)


def test_it_is_saved_and_loaded_with_what_it_was_fitted_on(tmp_path: Path) -> None:
    model, given = make_bag(), inputs(bags_of(OTHERS))
    model.save_pretrained(tmp_path)
    loaded = Strideformer.from_pretrained(tmp_path)
    for each in (loaded, model):
        assert each.bag_of_tokens is not None
        assert each.bag_of_tokens.inverse_document_frequency[9] == 0
    close(
        loaded(chunk_vectors=VECTORS, chunk_counts=COUNTS, **given).logits,
        model(chunk_vectors=VECTORS, chunk_counts=COUNTS, **given).logits,
    )


def test_a_model_that_reads_tokens_is_not_run_without_them() -> None:
    model, given = make_bag(), inputs(bags_of(OTHERS))
    with pytest.raises(StrideformerError, match="give token_bag_ids, token_bag_counts and token_bag_sizes"):
        model(chunk_vectors=VECTORS, chunk_counts=COUNTS)
    with pytest.raises(StrideformerError, match="give token_bag_ids"):
        DocumentAggregator(model, torch.device("cpu"))(VECTORS, np.array([0, len(VECTORS)]))
    with pytest.raises(StrideformerError, match="token bags of 4 documents and 1 documents"):
        model(chunk_vectors=VECTORS, **given)
    close(make()(chunk_vectors=VECTORS, **given).logits, make()(chunk_vectors=VECTORS).logits)


def test_tokens_are_left_out_in_training_alone() -> None:
    bag = make_bag(input_dropout=0.5).bag_of_tokens
    assert bag is not None
    given = bags_of([list(range(1, 6)) * 3]).tensors()
    assert len({tuple(bag(*given)[0].tolist()) for _ in range(5)}) == 1
    bag.train()
    assert len({tuple(bag(*given)[0].tolist()) for _ in range(20)}) > 5
