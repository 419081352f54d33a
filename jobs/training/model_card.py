"""README.md of a checkpoint: what it was trained on, how, and how well it does."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import yaml

from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData
from jobs.training.labels import REGRESSION, SINGLE
from jobs.training.verdict import Verdict
from strideformer import StrideformerConfig
from strideformer.label_figures import label_figures

# Settings that say nothing elsewhere and something of whoever trained it.
OF_THIS_MACHINE = {
    *("train", "validation", "embeddings", "output", "dataset_path", "storage_option", "resume", "start_from"),
}
PACKAGES = ("strideformer", "torch", "transformers", "tokenizers", "accelerate", "scikit-learn", "numpy")
AGGREGATOR = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "norm_position", "dropout"),
    *("chunk_vector_norm", "chunk_positions", "input_dropout", "chunk_dropout", "document_pooling"),
    *("mix_chunk_statistics", "classifier_hidden_size", "classifier_dropout", "loss", "class_weights"),
    *("label_smoothing", "focal_gamma", "bag_of_tokens"),
)
CHUNKING = ("max_length", "stride", "max_chunks", "chunk_pooling", "normalize_embeddings", "chunk_layers")

USE = """```
strideformer classify INPUT OUTPUT --model THIS_FOLDER
```

or, in Python, `strideformer.Pipeline("THIS_FOLDER")(text).label`."""


def model_card(
    settings: TrainSettings,
    config: StrideformerConfig,
    data: TrainingData,
    figures: dict[str, float],
    logits: torch.Tensor,
    verdict: Verdict,
    cut: str,
) -> str:
    """Markdown with a head in YAML, as the Hugging Face hub reads it. No path of this machine is in it.

    Args:
        settings: of the run.
        config: of the model.
        data: that it was trained on.
        figures: on validation.
        logits: (validation documents, num_labels) float32.
        verdict: of the comparison with baselines.
        cut: how many documents were longer than what was read.
    """
    encoder = config.to_dict()["first_model_config"].get("_name_or_path")
    front: dict[str, Any] = {"library_name": "strideformer", "pipeline_tag": "text-classification"}
    front["tags"] = ["strideformer", "long-documents"]
    if encoder is not None and not encoder.startswith("package:"):
        front["base_model"] = encoder
    if settings.dataset is not None:
        front["datasets"] = [settings.dataset]
    front["metrics"] = list(figures)
    trained = "the aggregator alone, over a frozen encoder" if settings.freeze_first_model else "encoder and aggregator"
    trained += ", from an earlier checkpoint on" if settings.start_from is not None else ""
    said_elsewhere = {"encoder", "aggregator", "dataset", "workers", *CHUNKING}
    used = settings.model_dump(exclude=OF_THIS_MACHINE | said_elsewhere, exclude_none=True) | {
        "epochs": settings.passes(len(data.training))
    }
    baselines = verdict.baselines
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# A Strideformer for {'regression' if data.encoding.problem_type == REGRESSION else 'classification'}",
        f"Trained: {trained}. Encoder: `{encoder or 'a local folder'}`.",
        "## Data",
        "\n".join(f"- {line.strip()}" for line in data.lines),
        "## Chunking",
        _table(("setting", "value"), [(name, getattr(config, name)) for name in CHUNKING]),
        cut,
        "## Aggregator",
        _table(("setting", "value"), [(name, getattr(config, name)) for name in AGGREGATOR]),
        "## Quality on validation",
        "These documents chose the checkpoint, so the figures flatter it a little: measure on others what matters.",
        _table(("metric", "value", *baselines), _compared(figures, baselines)),
        verdict.sentence,
    ]
    if data.encoding.problem_type != REGRESSION:
        sections += ["### By class", _by_class(data, logits)]
    sections += ["## Settings", _table(("setting", "value"), [(name, value) for name, value in used.items()])]
    sections += ["## Use", USE]
    sections += ["## Versions", _table(("package", "version"), [(name, version(name)) for name in PACKAGES])]
    return "\n\n".join(sections) + "\n"


def _compared(figures: dict[str, float], baselines: dict[str, dict[str, float]]) -> list[tuple[Any, ...]]:
    return [
        (name, value, *(baseline.get(name, "") for baseline in baselines.values())) for name, value in figures.items()
    ]


def _by_class(data: TrainingData, logits: torch.Tensor) -> str:
    labels = data.encoding.encode(data.validation.labels).numpy()
    single = data.encoding.problem_type == SINGLE
    predicted = logits.argmax(dim=1).numpy() if single else (logits > 0).numpy()
    found = label_figures(data.encoding.names, labels, predicted)
    rows = [(each.label, each.precision, each.recall, each.f1, each.support) for each in found]
    return _table(("label", "precision", "recall", "f1", "documents"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = f"{float(value):.4g}" if isinstance(value, float | np.floating) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
