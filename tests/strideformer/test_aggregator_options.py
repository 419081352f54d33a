from __future__ import annotations

from typing import Any

import pytest

from strideformer import StrideformerConfig, StrideformerError
from tests.strideformer.test_config import tiny_bert


def config(**fields: Any) -> StrideformerConfig:
    return StrideformerConfig(tiny_bert(), **({"num_attention_heads": 4} | fields))


def refusal(**fields: Any) -> str:
    with pytest.raises(StrideformerError) as caught:
        config(**fields)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("chunk_pooling", "mean, cls"),
        ("chunk_vector_norm", "none, length, layer, standard"),
        ("chunk_positions", "none, learned, sinusoidal, both_ends"),
        ("document_pooling", "mean, attention, label_attention, mean_states, max, cls"),
        ("mix_chunk_statistics", "mean, max, variance"),
        ("norm_position", "post, pre"),
        ("loss", "cross_entropy, focal"),
    ],
)
def test_unknown_choice_is_refused_with_those_there_are(field: str, choices: str) -> None:
    assert refusal(**{field: "best"}) == f"{field}='best' is unknown: use {choices}"


@pytest.mark.parametrize(
    ("field", "smallest"),
    [
        ("max_chunks", 1),
        ("hidden_size", 1),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 1),
        ("intermediate_size", 1),
        ("classifier_hidden_size", 0),
        ("max_length", 1),
    ],
)
def test_sizes_below_the_smallest_are_refused(field: str, smallest: int) -> None:
    assert refusal(**{field: smallest - 1}) == f"{field}={smallest - 1} must be at least {smallest}"


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], "chunk_layers=[] must be one or several layers of the encoder: 0, its embeddings, to 1, or counted"),
        ([2], "chunk_layers=[2] must be one or several"),
        ([-3], "chunk_layers=[-3] must be one or several"),
        ([0, "x"], "chunk_layers=[0, 'x'] must be one or several"),
        ([True], "chunk_layers=[True] must be one or several"),
        ([1, -1], "chunk_layers=[1, -1] names a layer twice: name each once"),
    ],
)
def test_layers_that_are_not_there_are_refused(layers: list[Any], sentence: str) -> None:
    assert refusal(chunk_layers=layers).startswith(sentence)


@pytest.mark.parametrize(
    "field", ["dropout", "input_dropout", "chunk_dropout", "classifier_dropout", "label_smoothing"]
)
@pytest.mark.parametrize("value", [1.0, -0.1, float("nan")])
def test_shares_outside_their_range_are_refused(field: str, value: float) -> None:
    assert refusal(**{field: value}) == f"{field}={value} must be at least 0 and less than 1"


@pytest.mark.parametrize(("field", "value"), [("layer_norm_eps", 0.0), ("initializer_range", -0.02)])
def test_what_must_be_positive_is(field: str, value: float) -> None:
    assert refusal(**{field: value}) == f"{field}={value} must be greater than 0"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"hidden_size": 30}, "num_attention_heads=4 does not divide hidden_size=30: use a divisor of it"),
        ({"num_attention_heads": 5}, "num_attention_heads=5 does not divide hidden_size=32: use a divisor of it"),
        ({"num_hidden_layers": 0, "document_pooling": "cls"}, "document_pooling='cls' reads a vector that sees"),
        ({"mix_chunk_statistics": ["max", "max"]}, "mix_chunk_statistics=['max', 'max'] names one twice"),
        ({"focal_gamma": -1.0}, "focal_gamma=-1.0 must be at least 0"),
        ({"loss": "focal", "label_smoothing": 0.1}, "label_smoothing=0.1 is for loss='cross_entropy'"),
        ({"class_weights": [1.0], "num_labels": 3}, "class_weights has 1 numbers for num_labels=3: give one a label"),
        ({"class_weights": [1.0, 0.0]}, "class_weights=[1.0, 0.0] must all be greater than 0"),
        ({"loss": "focal", "problem_type": "regression"}, "loss='focal', class_weights and label_smoothing are for"),
        ({"label_smoothing": 0.1, "num_labels": 1}, "loss='focal', class_weights and label_smoothing are for classes"),
        (
            {"target_means": [1.0], "target_deviations": [1.0], "num_labels": 3},
            "target_means and target_deviations are",
        ),
        ({"target_means": [1.0], "num_labels": 1}, "target_means=[1.0] and target_deviations=None must both have"),
        (
            {"target_means": [1.0], "target_deviations": [0.0], "num_labels": 1},
            "target_deviations=[0.0] must all be greater than 0",
        ),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], sentence: str) -> None:
    assert refusal(**fields).startswith(sentence)


def test_heads_need_divide_nothing_without_layers() -> None:
    assert config(num_hidden_layers=0, hidden_size=30).hidden_size == 30


def test_one_statistic_may_be_given_by_its_name_alone() -> None:
    assert config(mix_chunk_statistics="max").mix_chunk_statistics == ["max"]
    assert config(mix_chunk_statistics=("max", "mean")).mix_chunk_statistics == ["max", "mean"]
