"""The receipt of a shard: what its part holds, kept in the part's own footer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

RECEIPT_KEY = b"strideformer.receipt"


# The numbers that add up over shards.
COUNTED = (
    "documents",
    "labelled",
    "quarantined",
    "tokens",
    "chunks",
    "chunks_encoded",
    "truncated",
    "duplicates",
    "files_quarantined",
    "segments",
    "segments_fast",
)


@dataclass(frozen=True)
class Receipt:
    """Counts of one committed shard, or of many added up.

    Attributes:
        shard: which shard; -1 for a sum.
        job: fingerprint of the job that wrote it.
        documents: rows that the plan gave it; always labelled + quarantined.
        labelled: rows of the part; those of a store of embeddings have vectors in place of labels.
        tokens: read by the encoder, each counted once.
        chunks: of the documents.
        chunks_encoded: those of them that the encoder read; fewer with early exit.
        files_quarantined: files that were refused as a whole, each one of ``quarantined``.
        truncated: documents longer than max_chunks.
        label_counts: labels given, each with its number of documents.
        reasons: quarantine reasons, each with its number of documents.
        duplicates: documents identical to another of their shard, whose result they share.
        segments, segments_fast: pieces of text that were tokenised, and those of them that the faster tokenizer took.
        fast_off: why it is not in use, each reason with the number of shards that were tokenised without it.
        seconds: time in each stage, see :mod:`jobs.output.profile`. Writing is in the receipt that the driver gets,
            and cannot be in the part that is written.
    """

    shard: int
    job: str
    documents: int = 0
    labelled: int = 0
    quarantined: int = 0
    tokens: int = 0
    chunks: int = 0
    truncated: int = 0
    label_counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    files_quarantined: int = 0
    chunks_encoded: int = 0
    segments: int = 0
    segments_fast: int = 0
    fast_off: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        return cls(**json.loads(text))


def add_up(receipts: Iterable[Receipt]) -> Receipt:
    """The sum of receipts; memory does not grow with their number."""
    numbers: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    fast_off: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    job = ""
    for receipt in receipts:
        job = receipt.job
        for name in COUNTED:
            numbers[name] += getattr(receipt, name)
        labels.update(receipt.label_counts)
        reasons.update(receipt.reasons)
        fast_off.update(receipt.fast_off)
        for stage, taken in receipt.seconds.items():
            seconds[stage] += taken  # type: ignore[assignment]  # a Counter of floats adds as well
    return Receipt(
        shard=-1,
        job=job,
        label_counts=dict(labels),
        reasons=dict(reasons),
        fast_off=dict(fast_off),
        seconds=dict(seconds),
        **numbers,
    )
