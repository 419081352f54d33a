"""The rows of the ablation: one change at a time, then those that the literature or the first rows put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BASELINE = "baseline"
# What the first training job of this package made: a layer, mean of logits, vectors as they are.
BASE: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 768, "dropout": 0.1}
STANDARD: dict[str, Any] = {"chunk_vector_norm": "standard"}
STATISTICS: dict[str, Any] = {"mix_chunk_statistics": ["mean", "max", "variance"]}


@dataclass(frozen=True)
class Row:
    """A name, the fields of the config and of the recipe that it sets, and whether it is left out unless named."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    slow: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return BASE | self.changes


ROWS = (
    Row(BASELINE),
    # Scale of the vectors
    Row("length-1", {"chunk_vector_norm": "length"}),
    Row("layer-norm", {"chunk_vector_norm": "layer"}),
    Row("standard", STANDARD),
    # Positions
    Row("learned-positions", {"chunk_positions": "learned"}),
    Row("sinusoidal-positions", {"chunk_positions": "sinusoidal"}),
    Row("both-ends-positions", {"chunk_positions": "both_ends"}),
    Row("standard+sinusoidal", STANDARD | {"chunk_positions": "sinusoidal"}),
    # Pooling
    Row("attention", {"document_pooling": "attention"}),
    Row("label-attention", {"document_pooling": "label_attention"}),
    Row("max", {"document_pooling": "max"}),
    Row("cls", {"document_pooling": "cls"}),
    # Depth and width
    Row("linear", {"num_hidden_layers": 0}),
    Row("standard+linear", STANDARD | {"num_hidden_layers": 0}),
    Row(
        "standard+mlp",
        STANDARD
        | {"num_hidden_layers": 0, "document_pooling": "mean_states", "hidden_size": 384}
        | {"classifier_hidden_size": 384, "classifier_dropout": 0.3},
    ),
    Row("2-layers", {"num_hidden_layers": 2}),
    Row("pre-norm", {"norm_position": "pre"}),
    Row("2-layers-pre-norm", {"num_hidden_layers": 2, "norm_position": "pre"}),
    Row("narrow-192", {"hidden_size": 192, "intermediate_size": 384}),
    Row("feed-forward-1536", {"intermediate_size": 1536}),
    Row("original-24-layers", {"num_hidden_layers": 24, "intermediate_size": 4096}, slow=True),
    # Dropout
    Row("dropout-0.3", {"dropout": 0.3}),
    Row("input-dropout-0.2", {"input_dropout": 0.2}),
    Row("chunk-dropout-0.3", {"chunk_dropout": 0.3}),
    Row("classifier-dropout-0.3", {"classifier_dropout": 0.3}),
    # Loss
    Row("class-weights", {"class_weights": "balanced"}),
    Row("focal", {"loss": "focal"}),
    Row("label-smoothing-0.1", {"label_smoothing": 0.1}),
    # Statistics
    Row("mix-mean", {"mix_chunk_statistics": ["mean"]}),
    Row("mix-all", STATISTICS),
    Row("standard+mix-all", STANDARD | STATISTICS),
    # Training
    Row("learning-rate-2e-4", recipe={"learning_rate": 2e-4}),
    Row("learning-rate-1e-3", recipe={"learning_rate": 1e-3}),
    Row("weight-decay-0.1", recipe={"weight_decay": 0.1}),
    Row("ema-0.99", recipe={"ema": 0.99}),
    # Together
    Row("standard+linear+mix-all", STANDARD | STATISTICS | {"num_hidden_layers": 0, "classifier_dropout": 0.3}),
    Row("standard+attention+mix-mean", STANDARD | {"document_pooling": "attention", "mix_chunk_statistics": ["mean"]}),
    Row(
        "standard+regularised",
        STANDARD | {"chunk_dropout": 0.3, "input_dropout": 0.1, "label_smoothing": 0.1, "dropout": 0.2},
        {"ema": 0.99},
    ),
    Row(
        "standard+regularised+max",
        STANDARD
        | {"chunk_dropout": 0.3, "input_dropout": 0.1, "label_smoothing": 0.1, "dropout": 0.2}
        | {"document_pooling": "max"},
        {"ema": 0.99},
    ),
    Row(
        "standard+regularised+attention+mix",
        STANDARD
        | {"chunk_dropout": 0.3, "input_dropout": 0.1, "label_smoothing": 0.1, "dropout": 0.2}
        | {"document_pooling": "attention", "mix_chunk_statistics": ["mean"]},
        {"ema": 0.99},
    ),
)
