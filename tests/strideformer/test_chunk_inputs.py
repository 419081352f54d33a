from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch

from strideformer import Strideformer, StrideformerError
from strideformer.chunk_inputs import Standardization, drop_chunks, put_back, sinusoidal_positions
from tests.strideformer.small_models import close, make

VECTORS = 3 * torch.randn(12, 32, generator=torch.Generator().manual_seed(3)) + 2


@pytest.mark.parametrize("hidden_size", [6, 7])
def test_sinusoidal_positions_are_those_of_the_paper(hidden_size: int) -> None:
    table = sinusoidal_positions(50, hidden_size, torch.zeros(1, dtype=torch.float64))
    for position, column in product(range(50), range(hidden_size)):
        angle = position / 10_000 ** (2 * (column // 2) / hidden_size)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[position, column].item() == pytest.approx(expected, abs=1e-5)


def test_positions_from_both_ends() -> None:
    model = make(chunk_positions="both_ends")
    start, end = model.chunk_inputs.positions_from_start.weight, model.chunk_inputs.positions_from_end.weight
    inputs = model.chunk_inputs(torch.zeros(2, 4, 32), torch.tensor([4, 2]))
    for document, count in ((0, 4), (1, 2)):
        for chunk in range(count):
            close(inputs[document, chunk], start[chunk] + end[count - 1 - chunk])


@pytest.mark.parametrize("positions", ["learned", "both_ends"])
def test_more_chunks_than_learned_positions_are_refused(positions: str) -> None:
    with pytest.raises(StrideformerError, match="9 chunks but there are positions for max_chunks=8"):
        make(chunk_positions=positions)(chunk_vectors=torch.zeros(9, 32))


@pytest.mark.parametrize("positions", ["none", "sinusoidal"])
def test_more_chunks_than_max_chunks_are_read_where_positions_need_no_table(positions: str) -> None:
    assert make(chunk_positions=positions)(chunk_vectors=torch.zeros(9, 32)).logits.shape == (1, 3)


def test_vectors_scaled_to_length_1() -> None:
    model = make(chunk_vector_norm="length")
    close(model.chunk_inputs.scaled(VECTORS).norm(dim=-1), torch.ones(12))
    close(model(chunk_vectors=VECTORS).logits, model(chunk_vectors=7 * VECTORS).logits)
    assert not model.chunk_inputs.scaled(torch.zeros(1, 32).half()).isnan().any()


def test_layer_norm_of_the_vectors() -> None:
    scaled = make(chunk_vector_norm="layer").chunk_inputs.scaled(VECTORS)
    close(scaled.mean(dim=-1), torch.zeros(12))
    close(scaled.var(dim=-1, correction=0), torch.ones(12))


def test_standard_form_is_that_of_all_chunks_seen_in_training() -> None:
    standardize = Standardization(32)
    close(standardize.eval()(VECTORS), VECTORS, 0)
    standardize.train()
    for part in VECTORS.split([1, 5, 6]):
        standardize(part)
    close(standardize.mean, VECTORS.mean(dim=0))
    close(standardize.deviation, VECTORS.std(dim=0, correction=0))
    standardize.eval()
    expected = (VECTORS - VECTORS.mean(dim=0)) / VECTORS.std(dim=0, correction=0)
    close(standardize(VECTORS), expected)
    close(standardize(VECTORS[:1]), expected[:1])
    assert standardize.seen == 12


def test_feature_that_never_changes_does_not_become_infinite() -> None:
    standardize = Standardization(2).train()
    assert standardize(torch.ones(5, 2)).abs().max() == 0


def test_standard_form_of_a_checkpoint_without_it_begins_as_none(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    loaded = Strideformer.from_pretrained(tmp_path, chunk_vector_norm="standard")
    assert loaded.chunk_inputs.norm.seen == 0
    close(loaded(chunk_vectors=VECTORS).logits, make()(chunk_vectors=VECTORS).logits)


@pytest.mark.parametrize("hidden_size", [12, 32, 48])
def test_width_of_its_own_is_reached_by_a_projection(hidden_size: int) -> None:
    model = make(hidden_size=hidden_size)
    assert hasattr(model.chunk_inputs.projection, "weight") == (hidden_size != 32)
    output = model(chunk_vectors=VECTORS, output_hidden_states=True)
    assert output.second_model_hidden_states.shape == (1, 12, hidden_size)


def test_dropped_chunks_are_about_the_share_asked_for_and_never_all() -> None:
    present = torch.ones(2000, 10, dtype=torch.bool)
    present[:, 7:] = False
    torch.manual_seed(0)
    kept, order = drop_chunks(present, 0.4)
    assert kept.shape == order.shape == (2000, 7)
    assert present.gather(1, order)[kept].all()
    assert 0.57 < kept.sum() / present.sum() < 0.63
    for left, chunks in zip(kept.tolist(), order.tolist(), strict=True):
        of_row = [chunk for is_left, chunk in zip(left, chunks, strict=True) if is_left]
        assert of_row == sorted(set(of_row)), "in their order, none twice"
    nearly_none, _ = drop_chunks(present, 0.99)
    assert nearly_none.any(dim=1).all()
    assert drop_chunks(present[:1000], 0.99)[0].shape[1] == 7, "one that would lose all keeps all"
    kept, order = drop_chunks(present, 0.0)
    assert kept.all()
    assert torch.equal(order, torch.arange(7).expand(2000, 7))


def test_what_is_left_goes_back_to_its_place() -> None:
    values, order = torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), torch.tensor([[0, 3], [2, 1]])
    assert put_back(values, order, 4).squeeze(-1).tolist() == [[1, 0, 0, 2], [0, 0, 3, 0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_feature_with_a_large_mean_loses_no_digits_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    vectors = 12 + 0.1 * torch.randn(400, 32, generator=torch.Generator().manual_seed(0))
    model = make(chunk_vector_norm="standard")
    model.chunk_inputs.norm.train()(vectors)
    model.chunk_inputs.norm.eval()
    expected = model.chunk_inputs.scaled(vectors)
    model.to(dtype)
    assert (model.chunk_inputs.scaled(vectors) - expected).abs().max() < 1e-6
    model.save_pretrained(tmp_path)
    for asked in ({}, {"dtype": dtype}):
        loaded = Strideformer.from_pretrained(tmp_path, **asked)
        assert loaded.dtype == dtype
        assert (loaded.chunk_inputs.scaled(vectors) - expected).abs().max() < 1e-6
    exact = make(chunk_vector_norm="standard")
    exact.load_state_dict(model.float().state_dict())
    given = {"chunk_vectors": vectors, "chunk_counts": torch.tensor([400])}
    close(model.to(dtype)(**given).logits.float(), exact(**given).logits, 0.05)
