"""Small Strideformers with random weights and ragged documents, for tests of the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig

from strideformer import Strideformer, StrideformerConfig

COUNTS = torch.tensor([3, 1, 5, 2])
LAYERS = 2


def make(seed: int = 5, **changes: Any) -> Strideformer:
    """Two layers of each model, spread-out random weights, no dropout, in evaluation mode."""
    torch.manual_seed(seed)
    first = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
    )
    settings: dict[str, Any] = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.3,
        "dropout": 0.0,
        "max_chunks": 8,
        "num_labels": 3,
        "max_length": 12,
        "stride": 2,
    }
    model: Strideformer = Strideformer(StrideformerConfig.from_two_configs(first, settings | changes)).eval()
    return model


def chunks(number: int = 11, seed: int = 1) -> dict[str, Tensor]:
    """Chunks of 2 to 9 tokens, padded to 9."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 60, (number, 9), generator=generator)
    mask = (torch.arange(9) < torch.randint(2, 10, (number, 1), generator=generator)).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def logits_alone(model: Strideformer, inputs: dict[str, Tensor], counts: Tensor) -> Tensor:
    ends = counts.cumsum(0).tolist()
    slices = [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]
    return torch.cat([model(**{name: value[part] for name, value in inputs.items()}).logits for part in slices])


def close(left: Tensor | None, right: Tensor | None, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(left, right, atol=tolerance, rtol=0)
