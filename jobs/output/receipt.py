"""The receipt of a shard: what its part holds, kept in the part's own footer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

RECEIPT_KEY = b"strideformer.receipt"


@dataclass(frozen=True)
class Receipt:
    """Counts of one committed shard, or of many added up.

    Attributes:
        shard: which shard; -1 for a sum.
        job: fingerprint of the job that wrote it.
        documents: rows that the plan gave it; always labelled + quarantined.
        labelled: rows of the part; those of a store of embeddings have vectors in place of labels.
        tokens, chunks: read by the encoder.
        truncated: documents longer than max_chunks.
        label_counts: labels given, each with its number of documents.
        reasons: quarantine reasons, each with its number of documents.
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
    job = ""
    for receipt in receipts:
        job = receipt.job
        for name in ("documents", "labelled", "quarantined", "tokens", "chunks", "truncated"):
            numbers[name] += getattr(receipt, name)
        labels.update(receipt.label_counts)
        reasons.update(receipt.reasons)
    return Receipt(shard=-1, job=job, label_counts=dict(labels), reasons=dict(reasons), **numbers)
