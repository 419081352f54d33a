"""Small encoders of every kind whose parts are known, and one of another."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

KINDS: dict[str, tuple[Any, Any]] = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "camembert": (CamembertConfig, CamembertModel),
    "distilbert": (DistilBertConfig, DistilBertModel),
    "mpnet": (MPNetConfig, MPNetModel),
    "electra": (ElectraConfig, ElectraModel),
}
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.5,
}
OTHER = "electra"  # which has its embeddings go through a layer of their own


def small(kind: str, **changes: Any) -> Any:
    """A model in evaluation mode, without a pooler, with weights of chance."""
    torch.manual_seed(0)
    sizes = SIZES | changes
    if kind == "distilbert":
        sizes |= {"hidden_dim": sizes.pop("intermediate_size"), "activation": sizes.pop("hidden_act", "gelu")}
    config, model = KINDS[kind]
    without_pooler = {} if kind in ("distilbert", OTHER) else {"add_pooling_layer": False}
    made = model(config(**sizes), **without_pooler).eval()
    if kind == "mpnet":  # of the size of scores, which a trained one's is, too
        torch.nn.init.normal_(made.encoder.relative_attention_bias.weight, std=2)
    return made
