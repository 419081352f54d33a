"""The rows of the ablation: what ``strideformer train`` makes by default, and that with one change at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BASELINE = "default"
# `jobs.training.setup.default_aggregator` over a frozen encoder that is 384 wide, but for the bag of tokens: this is
# about what the layer over the vectors makes of them.
BASE: dict[str, Any] = {
    "num_hidden_layers": 1,
    "num_attention_heads": 12,
    "intermediate_size": 768,
    "chunk_vector_norm": "standard",
    "dropout": 0.2,
    "input_dropout": 0.1,
    "chunk_dropout": 0.3,
    "label_smoothing": 0.1,
}
PLAIN: dict[str, Any] = {"dropout": 0.1, "input_dropout": 0.0, "chunk_dropout": 0.0, "label_smoothing": 0.0}
NO_LAYER: dict[str, Any] = {"num_hidden_layers": 0, "classifier_dropout": 0.3}
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
    # Training
    Row("averaged-weights", recipe={"ema": 0.99}),
    Row("twice-the-epochs", recipe={"epochs": 10}),
    Row("learning-rate-2e-4", recipe={"learning_rate": 2e-4}),
    Row("learning-rate-1e-3", recipe={"learning_rate": 1e-3}),
    Row("weight-decay-0.1", recipe={"weight_decay": 0.1}),
    # Regularisation
    Row("unregularised", PLAIN),
    Row("unregularised-raw-vectors", PLAIN | {"chunk_vector_norm": "none"}),
    Row("dropout-0.1", {"dropout": 0.1}),
    Row("dropout-0.4", {"dropout": 0.4}),
    Row("no-input-dropout", {"input_dropout": 0.0}),
    Row("no-chunk-dropout", {"chunk_dropout": 0.0}),
    Row("chunk-dropout-0.6", {"chunk_dropout": 0.6}),
    Row("classifier-dropout-0.3", {"classifier_dropout": 0.3}),
    Row("no-label-smoothing", {"label_smoothing": 0.0}),
    # Pooling
    Row("attention", {"document_pooling": "attention"}),
    Row("label-attention", {"document_pooling": "label_attention"}),
    Row("max", {"document_pooling": "max"}),
    Row("mean-states", {"document_pooling": "mean_states"}),
    Row("cls", {"document_pooling": "cls"}),
    # Positions
    Row("learned-positions", {"chunk_positions": "learned"}),
    Row("sinusoidal-positions", {"chunk_positions": "sinusoidal"}),
    Row("both-ends-positions", {"chunk_positions": "both_ends"}),
    # Statistics
    Row("mix-mean", {"mix_chunk_statistics": ["mean"]}),
    Row("mix-max", {"mix_chunk_statistics": ["max"]}),
    Row("mix-variance", {"mix_chunk_statistics": ["variance"]}),
    Row("mix-all", STATISTICS),
    # Loss
    Row("class-weights", {"class_weights": "balanced"}),
    Row("focal", {"loss": "focal", "label_smoothing": 0.0}),
    # Depth and width
    Row("no-layer", NO_LAYER),
    Row("no-layer-mix-all", NO_LAYER | STATISTICS),
    Row("2-layers", {"num_hidden_layers": 2}),
    Row("pre-norm", {"norm_position": "pre"}),
    Row("narrow-192", {"hidden_size": 192, "intermediate_size": 384}),
    Row("classifier-hidden-384", {"classifier_hidden_size": 384, "classifier_dropout": 0.1}),
    Row("feed-forward-1536", {"intermediate_size": 1536}),
    Row("original-24-layers", {"num_hidden_layers": 24, "intermediate_size": 4096}, slow=True),
    # Scale of the vectors
    Row("raw-vectors", {"chunk_vector_norm": "none"}),
    Row("length-1", {"chunk_vector_norm": "length"}),
    Row("layer-norm", {"chunk_vector_norm": "layer"}),
)
