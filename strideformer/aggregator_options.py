"""The options of the second model and of how its logits are read: what each may be, and which contradict."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from strideformer.errors import StrideformerError
from strideformer.layers import LAST, refuse_unknown_layers

if TYPE_CHECKING:
    from strideformer.config import StrideformerConfig

CHUNK_POOLINGS = ("mean", "cls")
CHUNK_VECTOR_NORMS = ("none", "length", "layer", "standard")
CHUNK_POSITIONS = ("none", "learned", "sinusoidal", "both_ends")
LEARNED_POSITIONS = ("learned", "both_ends")
DOCUMENT_POOLINGS = ("mean", "attention", "label_attention", "mean_states", "max", "cls")
# With these a document's logits are the mean of what each of its chunks adds to them.
POOLINGS_OF_LOGITS = ("mean", "attention", "label_attention")
CHUNK_STATISTICS = ("mean", "max", "variance")
NORM_POSITIONS = ("post", "pre")
LOSSES = ("cross_entropy", "focal")

CHOICES = {
    "chunk_pooling": CHUNK_POOLINGS,
    "chunk_vector_norm": CHUNK_VECTOR_NORMS,
    "chunk_positions": CHUNK_POSITIONS,
    "document_pooling": DOCUMENT_POOLINGS,
    "norm_position": NORM_POSITIONS,
    "loss": LOSSES,
}
SMALLEST = {
    "max_chunks": 1,
    "hidden_size": 1,
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "classifier_hidden_size": 0,
    "max_length": 1,
}
SHARES = ("dropout", "input_dropout", "chunk_dropout", "classifier_dropout", "label_smoothing")


def refuse_contradictions(config: StrideformerConfig) -> None:
    """Refuse a config that no model can be made of, or that says two things at once.

    Raises:
        StrideformerError: two fields contradict each other, or one has an impossible value.
    """
    for name, choices in CHOICES.items():
        _refuse_unknown(name, getattr(config, name), choices)
    for statistic in config.mix_chunk_statistics:
        _refuse_unknown("mix_chunk_statistics", statistic, CHUNK_STATISTICS)
    if len(set(config.mix_chunk_statistics)) < len(config.mix_chunk_statistics):
        raise StrideformerError(f"mix_chunk_statistics={config.mix_chunk_statistics} names one twice: name each once")
    if tuple(config.chunk_layers) != LAST:
        refuse_unknown_layers(config.chunk_layers, config.first_model_config.num_hidden_layers)
    for name, smallest in SMALLEST.items():
        if getattr(config, name) < smallest:
            raise StrideformerError(f"{name}={getattr(config, name)} must be at least {smallest}")
    for name in SHARES:
        if not 0 <= getattr(config, name) < 1:
            raise StrideformerError(f"{name}={getattr(config, name)} must be at least 0 and less than 1")
    for name in ("layer_norm_eps", "initializer_range"):
        if not getattr(config, name) > 0:
            raise StrideformerError(f"{name}={getattr(config, name)} must be greater than 0")
    if config.num_hidden_layers and config.hidden_size % config.num_attention_heads:
        raise StrideformerError(
            f"num_attention_heads={config.num_attention_heads} does not divide hidden_size={config.hidden_size}: "
            f"use a divisor of it"
        )
    if config.document_pooling == "cls" and not config.num_hidden_layers:
        raise StrideformerError(
            "document_pooling='cls' reads a vector that sees the chunks in a layer, and num_hidden_layers is 0: "
            "add a layer or pool otherwise"
        )
    _refuse_contradictions_of_the_loss(config)
    _refuse_wrong_reading(config)


def _refuse_unknown(name: str, value: object, choices: Collection[str]) -> None:
    if value not in choices:
        raise StrideformerError(f"{name}={value!r} is unknown: use {', '.join(choices)}")


def _refuse_contradictions_of_the_loss(config: StrideformerConfig) -> None:
    if not 0 <= config.focal_gamma < math.inf:
        raise StrideformerError(f"focal_gamma={config.focal_gamma} must be at least 0")
    if config.loss == "focal" and config.label_smoothing:
        raise StrideformerError(
            f"label_smoothing={config.label_smoothing} is for loss='cross_entropy', and loss is 'focal': choose one"
        )
    weights = config.class_weights
    if weights is not None and len(weights) != config.num_labels:
        raise StrideformerError(
            f"class_weights has {len(weights)} numbers for num_labels={config.num_labels}: give one a label"
        )
    if weights is not None and not all(0 < weight < math.inf for weight in weights):
        raise StrideformerError(f"class_weights={weights} must all be greater than 0")
    if is_regression(config) and (config.loss != "cross_entropy" or weights is not None or config.label_smoothing):
        raise StrideformerError(
            "loss='focal', class_weights and label_smoothing are for classes, and this is a regression: leave them out"
        )


def _refuse_wrong_reading(config: StrideformerConfig) -> None:
    """How logits are read: as probabilities, as labels, as values."""
    if not 0 < config.temperature < math.inf:
        raise StrideformerError(f"temperature={config.temperature} must be greater than 0: 1.0 changes nothing")
    if config.thresholds is not None and len(config.thresholds) != config.num_labels:
        raise StrideformerError(
            f"thresholds has {len(config.thresholds)} values for {config.num_labels} labels: give one a label, or none"
        )
    means, deviations = config.target_means, config.target_deviations
    if means is None and deviations is None:
        return
    if not is_regression(config):
        raise StrideformerError("target_means and target_deviations are for a regression, and this has classes")
    if means is None or deviations is None or not len(means) == len(deviations) == config.num_labels:
        raise StrideformerError(
            f"target_means={means} and target_deviations={deviations} must both have num_labels={config.num_labels} "
            f"numbers"
        )
    if not all(0 < each < math.inf for each in deviations) or not all(map(math.isfinite, means)):
        raise StrideformerError(f"target_deviations={deviations} must all be greater than 0, and target_means finite")


def is_regression(config: StrideformerConfig) -> bool:
    """Whether logits are values: a config with one label that does not say what it is for is a regression."""
    return config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
