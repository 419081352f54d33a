"""What an encoder is: two that agree here give the same chunk vectors for the same text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from strideformer.layers import LAST


@dataclass(frozen=True)
class EncoderIdentity:
    """All that decides a chunk vector but the number format it is computed in.

    Attributes:
        weights: `strideformer.checkpoint.weights_hash` of the first model.
        chunk_pooling, normalize_embeddings: how a chunk's token states become its vector.
        tokenizer: `tokenizer_hash` of the first model's tokenizer.
        max_length, stride, max_chunks: how documents are cut.
        chunk_layers: of which a chunk's vector is made, as in the config.
    """

    weights: str
    chunk_pooling: str
    normalize_embeddings: bool
    tokenizer: str
    max_length: int
    stride: int
    max_chunks: int
    chunk_layers: tuple[int, ...] = LAST

    @property
    def hash(self) -> str:
        """sha256 over ``to_dict``."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; of the last layer alone nothing is said, as in stores that knew no other."""
        values = asdict(self)
        layers = list(values.pop("chunk_layers"))
        return values if tuple(layers) == LAST else values | {"chunk_layers": layers}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderIdentity:
        """From ``to_dict``; further entries are left alone. KeyError where one is missing."""
        required = {field.name: values[field.name] for field in fields(cls) if field.default is MISSING}
        return cls(**required, chunk_layers=tuple(values.get("chunk_layers", LAST)))

    def difference(self, other: EncoderIdentity) -> tuple[str, str, str] | None:
        """The first field that differs, in words, with its value here and there; None if they agree."""
        for name, mine in asdict(self).items():
            theirs = getattr(other, name)
            if mine != theirs:
                hashed = name in ("weights", "tokenizer")
                words = f"{name} hash" if hashed else name
                return (words, mine[:12], theirs[:12]) if hashed else (words, str(mine), str(theirs))
        return None


def tokenizer_hash(tokenizer_json: str) -> str:
    """sha256 over a fast tokenizer's JSON without its truncation and padding, which chunking never uses."""
    values = json.loads(tokenizer_json) | {"truncation": None, "padding": None}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
