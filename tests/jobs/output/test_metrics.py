from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import ray.util.metrics

from jobs.output import metrics
from jobs.output.metrics import JobMetrics
from jobs.output.profile import STAGES
from jobs.output.receipt import Receipt

PROMTOOL = shutil.which("promtool")
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


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool, of Debian's package prometheus, to ask")
@pytest.mark.parametrize("quarantined", [0, 1, 3])
def test_the_time_left_is_that_of_all_documents(tmp_path: Path, quarantined: int) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    (left,) = [panel["targets"][0]["expr"] for panel in panels if panel["title"] == "Time left"]
    rules = [{"record": "left", "expr": left.replace("$output", "s3://b/out")}]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    # Of 4 documents that are done in a minute so many are quarantined, each for a reason of its own.
    series = {"ray_strideformer_remaining_documents{": "400-4x60"}
    series["ray_strideformer_labelled_documents_total{"] = f"0+{4 - quarantined}x60"
    for reason in range(quarantined):
        series[f'ray_strideformer_quarantined_documents_total{{reason="{reason}",'] = "0+1x60"
    given = [{"series": f'{name}output="s3://b/out"}}', "values": values} for name, values in series.items()]
    expected = {"expr": "left", "eval_time": "20m", "exp_samples": [{"labels": "left", "value": 80 * 60}]}
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [expected]}
    whole = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.json").write_text(json.dumps(whole))
    done = subprocess.run([str(PROMTOOL), "test", "rules", "test.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
