from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import ray.util.metrics

from jobs.output import metrics
from jobs.output.metrics import JobMetrics
from jobs.output.profile import STAGES
from jobs.output.receipt import Receipt

DASHBOARD = Path(__file__).parents[3] / "cluster" / "dashboards" / "strideformer.json"

Recorded = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What Ray's metrics are told, by their exported names and labels."""
    values: Recorded = {}

    def inc(self: ray.util.metrics.Counter, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        key = (f"ray_{self.info['name']}_total", frozenset(tags.items()))
        values[key] = values.get(key, 0) + value

    def set_(self: ray.util.metrics.Gauge, value: float, tags: dict[str, str]) -> None:
        values[f"ray_{self.info['name']}", frozenset(tags.items())] = value

    monkeypatch.setattr(ray.util.metrics.Counter, "inc", inc)
    monkeypatch.setattr(ray.util.metrics.Gauge, "set", set_)
    return values


def receipt(**values: object) -> Receipt:
    return Receipt(shard=0, job="j", **values)  # type: ignore[arg-type]


def test_a_run_counts_what_it_did_itself(recorded: Recorded) -> None:
    before = receipt(documents=4, labelled=4, tokens=400)
    told = JobMetrics("s3://b/out", planned=10, before=before)
    ours = frozenset({("output", "s3://b/out")})
    assert recorded == {("ray_strideformer_remaining_documents", ours): 6}
    done = {"documents": 3, "labelled": 1, "quarantined": 2, "tokens": 50, "chunks": 4, "chunks_encoded": 2}
    told.add(
        receipt(**done, reasons={"null_text": 2}, seconds={"read": 0.5, "encode": 3.0, "forward": 2.0, "wait": 1.0})
    )
    told.add(receipt(documents=3, labelled=3, tokens=70, chunks=5, chunks_encoded=5, seconds={"forward": 1.0}))
    stage = "ray_strideformer_stage_seconds_total"
    assert recorded == {
        ("ray_strideformer_remaining_documents", ours): 0,
        ("ray_strideformer_labelled_documents_total", ours): 4,
        ("ray_strideformer_quarantined_documents_total", ours | {("reason", "null_text")}): 2,
        ("ray_strideformer_tokens_total", ours): 120,
        ("ray_strideformer_encoded_chunks_total", ours): 7,
        (stage, ours | {("stage", "read")}): 0.5,
        (stage, ours | {("stage", "wait_for_input")}): 1.0,
        (stage, ours | {("stage", "prepare")}): 1.0,
        (stage, ours | {("stage", "forward")}): 3.0,
    }


def test_the_dashboard_asks_for_what_there_is() -> None:
    asked = json.dumps(json.loads(DASHBOARD.read_text(encoding="utf-8")))
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r"ray_(strideformer_\w+?)(?:_total)?\b", asked))
    assert names == set(re.findall(r'"(strideformer_\w+)"', source))
    stages = set(re.findall(r'stage=~?\\*"([a-z_|]+)', asked))
    assert {stage for each in stages for stage in each.split("|")} <= set(STAGES)
