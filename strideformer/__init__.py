"""Long-document classification: a sentence transformer over chunks, a second transformer over chunk vectors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from strideformer.registration import register_when_transformers_is_there

if TYPE_CHECKING:
    from strideformer.chunking import Chunker, ChunkViews
    from strideformer.collator import StrideformerCollator
    from strideformer.config import StrideformerConfig
    from strideformer.encoder import ChunkEncoder
    from strideformer.errors import StrideformerError
    from strideformer.model import Strideformer, StrideformerOutput
    from strideformer.pipeline import Passage, Pipeline, Prediction
    from strideformer.token_bags import TokenBags

__all__ = [
    "ChunkEncoder",
    "ChunkViews",
    "Chunker",
    "Passage",
    "Pipeline",
    "Prediction",
    "Strideformer",
    "StrideformerCollator",
    "StrideformerConfig",
    "StrideformerError",
    "StrideformerOutput",
    "TokenBags",
]

_HOMES = {
    "ChunkEncoder": "encoder",
    "ChunkViews": "chunking",
    "Chunker": "chunking",
    "Passage": "pipeline",
    "Pipeline": "pipeline",
    "Prediction": "pipeline",
    "Strideformer": "model",
    "StrideformerCollator": "collator",
    "StrideformerConfig": "config",
    "StrideformerError": "errors",
    "StrideformerOutput": "model",
    "TokenBags": "token_bags",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: see ``strideformer.registration`` for why not sooner."""
    if name not in _HOMES:
        raise AttributeError(f"module 'strideformer' has no attribute {name!r}")
    return getattr(import_module(f"strideformer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_when_transformers_is_there()
