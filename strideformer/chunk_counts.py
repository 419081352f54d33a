"""How many chunks a document has, and how much of it they read: the arithmetic, without the document.

Lengths are in tokens, without the special ones of a chunk; all arrays are (num_documents,) int64, and ``content`` is
how many tokens of the document a chunk may hold.
"""

from __future__ import annotations

import numpy as np


def chunk_steps(content: np.ndarray, stride: int) -> np.ndarray:
    """From the start of one chunk to that of the next."""
    # A first text may leave no more than the stride, if the second then fits in one chunk all the same.
    return np.asarray(np.maximum(content - stride, 1))


def usable_tokens(content: np.ndarray, stride: int, max_chunks: int) -> np.ndarray:
    """The most tokens that the chunks of a document hold; what lies beyond them is not read."""
    most = np.where(content > stride, max_chunks, 1)
    return np.asarray(content + (most - 1) * chunk_steps(content, stride))


def chunk_counts(num_tokens: np.ndarray, content: np.ndarray, stride: int) -> np.ndarray:
    """Chunks of documents of so many usable tokens, one at least."""
    return np.asarray(1 + -(-np.maximum(num_tokens - content, 0) // chunk_steps(content, stride)))
