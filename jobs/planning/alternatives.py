"""What other settings would cost: the same documents under another stride, or another most number of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.planning.estimate import Estimator
from jobs.planning.lengths import Lengths
from jobs.stages.chunk import Chunking

# Of max_chunks those are told with which such shares of the documents are read to the end.
SHARES_WHOLE = (0.99, 0.9, 0.5)


@dataclass(frozen=True)
class Alternative:
    """A stride and a most number of chunks, and what they come to.

    Attributes:
        name: in words.
        chunks, encoded: of all documents; ``encoded`` counts tokens as often as the encoder sees them.
        cost: of the encoder, as a share of what was asked for.
        truncated: share of the documents that are not read to the end.
        unread: share of all tokens that are not read.
    """

    name: str
    stride: int
    max_chunks: int
    chunks: int
    encoded: int
    cost: float
    truncated: float
    unread: float


def compare(lengths: Lengths, estimator: Estimator, asked: Chunking, own: Chunking) -> list[Alternative]:
    """What was asked for, then what else might be; nothing where no document is fit to be encoded.

    Args:
        own: the chunking that the model was trained with.
    """
    if not lengths.fit.any():
        return []
    weights = estimator.weights
    of_asked = max(float(weights @ lengths.asked.encoded), 1e-9)
    documents = max(float(weights @ lengths.fit), 1e-9)
    tokens = max(float(weights @ lengths.whole), 1e-9)
    found = []
    for name, stride, max_chunks in _choices(lengths, estimator, asked, own):
        as_asked = (stride, max_chunks) == (asked.stride, asked.max_chunks)
        reading = lengths.asked if as_asked else lengths.under(stride, max_chunks)
        found.append(
            Alternative(
                name=name,
                stride=stride,
                max_chunks=max_chunks,
                chunks=estimator.total(reading.chunks).value,
                encoded=estimator.total(reading.encoded).value,
                cost=float(weights @ reading.encoded) / of_asked,
                truncated=float(weights @ reading.truncated) / documents,
                unread=1 - float(weights @ reading.read) / tokens,
            )
        )
    return found


def _choices(lengths: Lengths, estimator: Estimator, asked: Chunking, own: Chunking) -> Iterator[tuple[str, int, int]]:
    """Names, strides and most chunks, those that were asked for first."""
    yield "as asked", asked.stride, asked.max_chunks
    if own.stride != asked.stride and own.stride < lengths.content.min():
        yield "the model's own stride", own.stride, asked.max_chunks
    if asked.stride and own.stride:
        yield "no overlap", 0, asked.max_chunks
    needed = lengths.under(asked.stride, int(lengths.whole.max()) + 1).chunks
    most = int(needed.max())
    told = {asked.max_chunks}
    if own.max_chunks not in told and own.max_chunks < most:
        told.add(own.max_chunks)
        yield "the model's own max_chunks", asked.stride, own.max_chunks
    if most > asked.max_chunks:
        yield "all of the sample read", asked.stride, most
    told.add(most)
    of_fit = np.where(lengths.fit, needed, np.nan)
    for share, chunks in zip(SHARES_WHOLE, estimator.quantiles(of_fit, list(SHARES_WHOLE)), strict=True):
        if chunks not in told:
            told.add(chunks)
            yield f"{share:.0%} read to the end".replace("%", " %"), asked.stride, chunks
