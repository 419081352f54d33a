"""A faster tokenizer than the reference, where one is installed: only what it does, not whether it is right."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

# tokie hands several texts, or one that is longer than some 64 KiB, to threads of its own, as many as the machine
# has cores and whatever RAYON_NUM_THREADS says; one shorter text it tokenises on the calling thread. Counted with
# 0.1.4: no thread for one text of 60,000 bytes, several for one of 100,000 or for four of any length.
MOST_BYTES = 60_000


class FastTokenizer(Protocol):
    """What `strideformer.proven_tokenizer` needs of a fast tokenizer."""

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text of at most `MOST_BYTES` in UTF-8, without special tokens: (num_tokens,) uint32."""


class _Tokie:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> np.ndarray:
        ids: np.ndarray = self._tokenizer.encode_batch_flat([text], add_special_tokens=False)[0]
        return ids


def load_tokie(description: str) -> FastTokenizer | None:
    """The tokenizer of a ``tokenizer.json`` as the package ``tokie`` reads it; None where it is not installed.

    Args:
        description: the text of a ``tokenizer.json``, without truncation and padding.

    Raises:
        Exception: tokie cannot read it; of what kind is tokie's affair.
    """
    try:
        from tokie import Tokenizer
    except ImportError:
        return None
    handle, name = tempfile.mkstemp(suffix=".json")  # tokie reads files only
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(description)
        return _Tokie(Tokenizer.from_json(name))
    finally:
        Path(name).unlink()
