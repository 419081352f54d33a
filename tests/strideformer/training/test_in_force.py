"""Each setting of training does what it says, in the Trainer and in the plain loop: seen from inside the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from jobs import train_loop
from strideformer import Chunker, Strideformer
from strideformer.training import TokenizedDocuments, TrainingOptions
from strideformer.training.trainer import TrainingResult, train
from tests.strideformer.training.separable import collate, new_model
from tests.tiny import texts

WAYS = {"trainer": train, "loop": train_loop.train}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Callable[..., TrainingResult]:
    return WAYS[request.param]


@dataclass
class Seen:
    """What forward passes in training, and in evaluation, were given and computed."""

    cells: list[int] = field(default_factory=list)
    chunk_counts: list[list[int]] = field(default_factory=list)
    evaluated_chunk_counts: list[list[int]] = field(default_factory=list)
    layer_calls: int = 0
    dtypes: set[torch.dtype] = field(default_factory=set)

    def watch(self, model: Strideformer) -> Strideformer:
        def before(_: nn.Module, arguments: tuple[Any, ...], given: dict[str, Tensor]) -> None:
            if model.training:
                self.cells.append(given["input_ids"].numel())
            (self.chunk_counts if model.training else self.evaluated_chunk_counts).append(
                given["chunk_counts"].tolist()
            )

        def layer(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            self.layer_calls += model.training

        def linear(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            if model.training:
                self.dtypes.add(output.dtype)

        model.register_forward_pre_hook(before, with_kwargs=True)
        model.first_model.encoder.layer[0].attention.register_forward_hook(layer)
        model.first_model.encoder.layer[0].intermediate.dense.register_forward_hook(linear)
        return model


def run(
    way: Callable[..., TrainingResult], chunker: Chunker, folder: Path, **options: Any
) -> tuple[Strideformer, Seen, TrainingResult]:
    def documents(number: int, seed: int) -> TokenizedDocuments:
        views = chunker.views(texts(number, longest=120, seed=seed))
        return TokenizedDocuments(views, chunker, torch.arange(number) % 3)

    AcceleratorState._reset_state()  # one a process, and so one precision a process
    seen = Seen()
    model = seen.watch(new_model(freeze_first_model=False))
    chosen = TrainingOptions(**({"epochs": 1, "budget": 1000, "learning_rate": 1e-3} | options))
    result = way(model, documents(24, 1), documents(9, 2), collate(chunker), chosen, folder, use_cpu=True)
    return model, seen, result


def most(chunk_counts: list[list[int]]) -> int:
    return max(max(counts) for counts in chunk_counts)


def test_a_step_is_of_at_most_so_many_tokens(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult]
) -> None:
    """A document that alone has more is a step of its own; the batch size bounds the documents beside it."""
    for budget, batch_size in ((200, 16), (1000, 16), (1000, 3)):
        _, seen, _ = run(way, chunker, tmp_path / f"{budget}-{batch_size}", budget=budget, batch_size=batch_size)
        for cells, counts in zip(seen.cells, seen.chunk_counts, strict=True):
            assert cells <= budget or len(counts) == 1
            assert len(counts) <= batch_size
        assert sum(map(len, seen.chunk_counts)) == 24
        assert len(seen.chunk_counts) > (5 if budget == 200 or batch_size == 3 else 1)


def test_training_sees_some_chunks_of_a_document_and_validation_all(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult]
) -> None:
    _, seen, _ = run(way, chunker, tmp_path / "all")
    assert most(seen.chunk_counts) > 2
    _, seen, _ = run(way, chunker, tmp_path / "some", train_max_chunks=2)
    assert most(seen.chunk_counts) == 2
    assert most(seen.evaluated_chunk_counts) > 2


def test_gradient_checkpointing_runs_a_layer_twice(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult]
) -> None:
    plain, once, _ = run(way, chunker, tmp_path / "kept")
    again, twice, _ = run(way, chunker, tmp_path / "computed", gradient_checkpointing=True)
    assert once.layer_calls == len(once.cells)
    assert twice.layer_calls == 2 * len(twice.cells)
    for name, weight in again.state_dict().items():
        torch.testing.assert_close(weight, plain.state_dict()[name], rtol=0, atol=1e-5)


def test_half_precision_is_of_the_products_alone(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult]
) -> None:
    _, seen, _ = run(way, chunker, tmp_path / "single")
    assert seen.dtypes == {torch.float32}
    model, seen, _ = run(way, chunker, tmp_path / "half", precision="bf16")
    assert seen.dtypes == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_step_of_the_optimizer_is_of_several_forward_passes(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult]
) -> None:
    _, seen, result = run(way, chunker, tmp_path / "one", budget=300, gradient_accumulation_steps=4)
    assert len(seen.cells) == 4 * result.history[-1]["step"]


@pytest.mark.parametrize("of_first", [True, False])
def test_the_two_models_have_their_own_rates(
    tmp_path: Path, chunker: Chunker, way: Callable[..., TrainingResult], of_first: bool
) -> None:
    rates = {"first_model_learning_rate": 1e-3, "learning_rate": 1e-12}
    if not of_first:
        rates = {"first_model_learning_rate": 1e-12, "learning_rate": 1e-3}
    before = new_model(freeze_first_model=False).state_dict()
    model, _, _ = run(way, chunker, tmp_path, **rates)
    moved = {name for name, weight in model.state_dict().items() if not torch.allclose(weight, before[name], atol=1e-9)}
    assert moved
    assert {name.startswith("first_model.") for name in moved} == {of_first}
