"""Labels of embedded RFCs in bf16, against the first model's own forward in fp32."""

from __future__ import annotations

from tests.benchmarks.agreement import Comparison
from tests.benchmarks.texts import CHECKPOINT, SAMPLE, read_documents


def test_bfloat16_gives_the_labels_of_float32() -> None:
    comparison = Comparison(CHECKPOINT, "bfloat16", own_forward=True, max_chunks=1)
    *_, found = comparison.compare(read_documents(SAMPLE)[:10])
    assert len(found.same) == found.chunks == 10
    assert found.percent == 100
    assert found.least_cosine > 0.999
    assert 0 < max(found.score_change) < 0.05
    *_, near = comparison.compare(read_documents(SAMPLE)[:10], nearer=0.5)
    assert 0 < len(near.score_change) < 10
    assert (len(near.same), near.chunks, near.percent) == (10, 10, 100)
