from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from strideformer import Strideformer, StrideformerError, StrideformerOutput
from strideformer.aggregator_options import CHUNK_POSITIONS, DOCUMENT_POOLINGS
from strideformer.predictions import LabelSpace
from tests.strideformer.small_models import COUNTS, LAYERS, chunks, close, logits_alone, make

KINDS = list(product(DOCUMENT_POOLINGS, CHUNK_POSITIONS))


@pytest.mark.parametrize("gradients", [False, True])  # torch's layers take another way where none are needed
@pytest.mark.parametrize(("pooling", "positions"), KINDS)
def test_ragged_documents_have_the_logits_of_each_alone(pooling: str, positions: str, gradients: bool) -> None:
    model, inputs = make(document_pooling=pooling, chunk_positions=positions), chunks()
    with torch.set_grad_enabled(gradients):
        together = model(**inputs, chunk_counts=COUNTS)
        close(together.logits, logits_alone(model, inputs, COUNTS))
    assert torch.pdist(together.logits).min() > 0.01
    assert together.chunk_logits.shape == (11, 3)


def test_ragged_documents_have_the_gradients_of_each_alone() -> None:
    model, inputs = make(document_pooling="attention", freeze_first_model=False).train(), chunks()
    gradients = []
    for logits in (model(**inputs, chunk_counts=COUNTS).logits, logits_alone(model, inputs, COUNTS)):
        model.zero_grad()
        logits.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for together, alone in zip(*gradients, strict=True):
        close(together, alone)


@pytest.mark.parametrize(("pooling", "positions"), KINDS)
def test_order_of_chunks_matters_with_positions_only(pooling: str, positions: str) -> None:
    model = make(document_pooling=pooling, chunk_positions=positions)
    vectors = torch.randn(6, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        difference = (model(chunk_vectors=vectors).logits - model(chunk_vectors=vectors.flip(0)).logits).abs().max()
    assert difference < 1e-5 if positions == "none" else difference > 0.01


def test_batch_size_is_as_many_documents_of_equal_counts() -> None:
    model, inputs = make(), chunks(6)
    close(model(**inputs, batch_size=2).logits, model(**inputs, chunk_counts=torch.tensor([3, 3])).logits, 0)
    assert not torch.equal(model(**inputs, batch_size=2).logits[:1], model(**inputs).logits)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_chunk_vectors_take_the_place_of_the_first_model(pooling: str) -> None:
    model, inputs = make(chunk_pooling=pooling, normalize_embeddings=True), chunks()
    vectors = model.pool_chunks([model.first_model(**inputs).last_hidden_state], inputs["attention_mask"])
    close(vectors.norm(dim=-1), torch.ones(11))
    expected = model(**inputs, chunk_counts=COUNTS).logits
    close(model(chunk_vectors=vectors, chunk_counts=COUNTS).logits, expected)


@pytest.mark.parametrize("statistics", [[], ["max"]])
def test_several_layers_make_one_wider_vector(tmp_path: Path, statistics: list[str]) -> None:
    fields = {"chunk_layers": [0, -1], "normalize_embeddings": True, "mix_chunk_statistics": statistics}
    model, inputs = make(**fields, chunk_vector_norm="standard"), chunks()
    states = model.first_model(**inputs, output_hidden_states=True).hidden_states
    vectors = model.pool_chunks([states[0], states[-1]], inputs["attention_mask"])
    assert vectors.shape == (11, model.config.chunk_vector_size) == (11, 64)
    close(vectors[:, 32:], make(normalize_embeddings=True).pool_chunks([states[-1]], inputs["attention_mask"]))
    together = model(**inputs, chunk_counts=COUNTS).logits
    close(together, logits_alone(model, inputs, COUNTS))
    close(model(chunk_vectors=vectors, chunk_counts=COUNTS).logits, together)
    model.save_pretrained(tmp_path)
    again = Strideformer.from_pretrained(tmp_path)
    assert again.config.chunk_layers == [0, -1]
    close(again(**inputs, chunk_counts=COUNTS).logits, together, 0)


def test_layers_that_are_read_are_trained_with_the_first_model() -> None:
    model, inputs = make(chunk_layers=[0], freeze_first_model=False).train(), chunks()
    model(**inputs, chunk_counts=COUNTS).logits.sum().backward()
    assert model.first_model.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    assert model.first_model.encoder.layer[0].output.dense.weight.grad is None, "no layer above is read"


def test_token_types_reach_the_first_model() -> None:
    model, inputs = make(), chunks()
    types = torch.ones_like(inputs["input_ids"])
    assert (model(**inputs, token_type_ids=types).logits - model(**inputs).logits).abs().max() > 0.01
    close(model(**inputs, token_type_ids=0 * types).logits, model(**inputs).logits, 0)


WHOLE, MANY, NUMBERS = torch.tensor([2, 0, 1, 2]), torch.tensor([[1.0, 0, 1]] * 4), torch.tensor([0.5, -1, 2, 0])
ROWS = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("num_labels", "problem", "labels", "function"),
    [
        (3, None, WHOLE, F.cross_entropy),
        (3, "single_label_classification", WHOLE, F.cross_entropy),
        (3, None, MANY, F.binary_cross_entropy_with_logits),
        (3, "multi_label_classification", MANY, F.binary_cross_entropy_with_logits),
        (1, None, NUMBERS, lambda logits, labels: F.mse_loss(logits[:, 0], labels)),
        (3, "regression", ROWS, F.mse_loss),
    ],
)
@pytest.mark.parametrize("frozen", [True, False])
def test_loss_is_torchs_and_trains_what_should_be_trained(
    num_labels: int, problem: str | None, labels: Tensor, function: Any, frozen: bool
) -> None:
    model = make(num_labels=num_labels, problem_type=problem, freeze_first_model=frozen).train()
    output = model(**chunks(), labels=labels, chunk_counts=COUNTS)
    close(output.loss, function(output.logits, labels))
    output.loss.backward()
    for name, parameter in model.named_parameters():
        trained = not (frozen and name.startswith("first_model."))
        assert parameter.requires_grad == trained, name
        # a key's bias shifts all of a row's scores alike, which softmax does not see
        if ".key.bias" not in name:
            assert (parameter.grad is not None and bool(parameter.grad.any())) == trained, name


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(frozen: bool, reentrant: bool) -> None:
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = make(freeze_first_model=frozen).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        ran: list[int] = []
        for layer in model.second_model.layers:
            layer.register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        model(**chunks(), labels=WHOLE, chunk_counts=COUNTS).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
        calls.append(len(ran))
    assert calls == [LAYERS, 2 * LAYERS]  # the second time, each layer runs again on the way back
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        close(gradients[1][name], gradient)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision_runs_and_stays_close(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    model = make(document_pooling="cls", chunk_positions="sinusoidal")
    model.save_pretrained(tmp_path)
    half = Strideformer.from_pretrained(tmp_path, dtype=dtype)
    output = half(**chunks(), chunk_counts=COUNTS)
    assert output.logits.dtype == dtype
    expected = model(**chunks(), chunk_counts=COUNTS).logits
    assert expected.abs().max() > 5 * tolerance
    close(output.logits.float(), expected, tolerance)


@pytest.mark.parametrize(("pooling", "extra"), [("mean", 0), ("cls", 1)])
def test_hidden_states_on_request(pooling: str, extra: int) -> None:
    model, inputs = make(document_pooling=pooling), chunks()
    output = model(**inputs, chunk_counts=COUNTS, output_hidden_states=True)
    assert isinstance(output, StrideformerOutput)
    assert output.first_model_hidden_states is not None
    assert output.second_model_hidden_states is not None
    assert output.first_model_hidden_states.shape == (11, 9, 32)
    assert output.second_model_hidden_states.shape == (4, 5 + extra, 32)
    without = model(**inputs, chunk_counts=COUNTS)
    assert without.first_model_hidden_states is None
    assert without.second_model_hidden_states is None


def test_config_says_what_is_given_by_default() -> None:
    model, inputs = make(), chunks(3)
    model.config.output_hidden_states = True
    assert model(**inputs).first_model_hidden_states is not None
    assert model(**inputs, output_hidden_states=False).first_model_hidden_states is None
    model.config.return_dict = False
    assert type(model(**inputs)) is tuple
    assert type(model(**inputs, return_dict=True)) is StrideformerOutput


def test_unknown_argument_is_not_swallowed() -> None:
    with pytest.raises(TypeError, match="chunk_count"):
        make()(**chunks(3), chunk_count=torch.tensor([3]))


def test_counts_may_be_a_list() -> None:
    model, inputs = make(), chunks()
    close(model(**inputs, chunk_counts=COUNTS.tolist()).logits, model(**inputs, chunk_counts=COUNTS).logits, 0)


def test_kind_of_loss_is_told_anew_at_each_call_that_trains_nothing() -> None:
    model, inputs = make(), chunks()
    for labels in (WHOLE, MANY, WHOLE):
        output = model(**inputs, labels=labels, chunk_counts=COUNTS)
        function = F.cross_entropy if labels is WHOLE else F.binary_cross_entropy_with_logits
        close(output.loss, function(output.logits, labels))
    assert model.config.problem_type is None


@pytest.mark.parametrize(("labels", "others"), [(WHOLE, MANY), (MANY, WHOLE)])
def test_a_model_is_read_as_it_was_trained(tmp_path: Path, labels: Tensor, others: Tensor) -> None:
    model, inputs = make().train(), chunks()
    kind = "single_label_classification" if labels is WHOLE else "multi_label_classification"
    model(**inputs, labels=labels, chunk_counts=COUNTS)
    model.save_pretrained(tmp_path)
    assert LabelSpace.of(Strideformer.from_pretrained(tmp_path).config).problem_type == kind
    with pytest.raises(StrideformerError, match=f"do not fit logits .* in {kind}"):
        model(**inputs, labels=others, chunk_counts=COUNTS)


def test_input_embeddings_are_those_of_the_first_model() -> None:
    model = make()
    assert model.get_input_embeddings() is model.first_model.embeddings.word_embeddings


def test_tuple_in_place_of_the_output() -> None:
    model, inputs = make(), chunks(3)
    logits, chunk_logits = model(**inputs, return_dict=False)
    close(logits, model(**inputs).logits, 0)
    assert chunk_logits.shape == (3, 3)
    loss, after, _ = model(**inputs, labels=torch.tensor([1]), return_dict=False)
    close(loss, F.cross_entropy(after, torch.tensor([1])))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 2}, "5 chunks cannot be divided evenly among batch_size=2 documents"),
        ({"batch_size": 0}, "5 chunks cannot be divided evenly among batch_size=0 documents"),
        ({"chunk_counts": torch.tensor([2, 2])}, "chunk_counts add up to 4 but there are 5 chunks"),
        ({"chunk_counts": torch.tensor([5, 0])}, "every document needs at least one"),
        ({"chunk_counts": torch.tensor([6, -1])}, "every document needs at least one"),
        ({"chunk_vectors": torch.zeros(0, 32)}, "0 chunks cannot be divided"),
        ({"chunk_vectors": None}, "forward needs input_ids, or chunk_vectors"),
    ],
)
def test_counts_that_do_not_fit_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StrideformerError, match=sentence):
        make()(**({"chunk_vectors": torch.zeros(5, 32)} | arguments))


@pytest.mark.parametrize(("pooling", "positions"), [("cls", "learned"), ("attention", "sinusoidal"), ("mean", "none")])
def test_round_trip_through_safetensors_and_auto_classes(tmp_path: Path, pooling: str, positions: str) -> None:
    model = make(document_pooling=pooling, chunk_positions=positions)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is Strideformer
    assert not any(parameter.requires_grad for parameter in loaded.first_model.parameters())
    close(loaded(**chunks(), chunk_counts=COUNTS).logits, model(**chunks(), chunk_counts=COUNTS).logits, 1e-6)


def test_new_parameters_of_a_checkpoint_without_them_are_drawn(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    loaded = Strideformer.from_pretrained(tmp_path, document_pooling="cls", chunk_positions="learned")
    for weight in (loaded.second_model.document_vector, loaded.chunk_inputs.positions_from_start.weight):
        assert 0.15 < weight.std() < 0.45  # initializer_range is 0.3


def test_attention_implementation_reaches_the_first_model(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    sdpa = Strideformer.from_pretrained(tmp_path)
    eager = Strideformer.from_pretrained(tmp_path, attn_implementation="eager")
    assert sdpa.first_model.config._attn_implementation == "sdpa"
    assert eager.first_model.config._attn_implementation == "eager"
    close(sdpa(**chunks()).logits, eager(**chunks()).logits)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_first_model_stays_in_evaluation_mode(frozen: bool) -> None:
    model = Strideformer(make(freeze_first_model=frozen).config)
    assert {module.training for module in model.first_model.modules()} == {not frozen}
    model.train()
    assert model.second_model.training
    assert {module.training for module in model.first_model.modules()} == {not frozen}


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_activation_is_that_of_the_config(activation: str) -> None:
    layer: Any = make(hidden_act=activation).second_model.layers[0]
    values = torch.linspace(-2, 2, 9)
    close(layer.activation(values), getattr(F, activation)(values))


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(StrideformerError, match="hidden_act='gulu' is unknown: use one of"):
        make(hidden_act="gulu")
