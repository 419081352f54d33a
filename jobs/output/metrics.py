"""What a running job tells Prometheus, through the Ray node that its driver is on; ``cluster/dashboards`` draws it.

Ray exports each metric under its name here with ``ray_`` before it, and counters with ``_total`` after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.output.profile import profile
from jobs.output.receipt import Receipt

if TYPE_CHECKING:
    from ray.util.metrics import Counter


class JobMetrics:
    """Counters of one run of a job, each with the label ``output``, the folder that it writes.

    Args:
        output: the folder, which names the job.
        planned: documents in the plan.
        before: what earlier runs of the same job had committed: not counted again.
    """

    def __init__(self, output: str, planned: int, before: Receipt) -> None:
        from ray.util.metrics import Counter, Gauge

        self.output = output
        self.left = planned - before.documents
        self.remaining = Gauge("strideformer_remaining_documents", "Planned and not done yet.", ("output",))
        self.labelled = Counter("strideformer_labelled_documents", "Labelled, or embedded.", ("output",))
        self.quarantined = Counter(
            "strideformer_quarantined_documents", "Quarantined, by reason.", ("output", "reason")
        )
        self.tokens = Counter("strideformer_tokens", "Tokens of documents that are done, each once.", ("output",))
        self.chunks = Counter("strideformer_encoded_chunks", "Chunks that the encoder read.", ("output",))
        self.seconds = Counter(
            "strideformer_stage_seconds",
            "Time in each stage, summed over shards.",
            ("output", "stage"),
        )
        self.remaining.set(self.left, {"output": output})

    def add(self, receipt: Receipt) -> None:
        """One more shard is committed."""
        self.left -= receipt.documents
        self.remaining.set(self.left, {"output": self.output})
        self._count(self.labelled, receipt.labelled)
        self._count(self.tokens, receipt.tokens)
        self._count(self.chunks, receipt.chunks_encoded)
        for reason, number in receipt.reasons.items():
            self._count(self.quarantined, number, reason=reason)
        for stage, seconds in profile(receipt)["seconds"].items():
            self._count(self.seconds, seconds, stage=stage)

    def _count(self, counter: Counter, number: float, **labels: str) -> None:
        if number > 0:  # Ray refuses zero
            counter.inc(number, {"output": self.output} | labels)
