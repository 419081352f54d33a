"""What a plan says of all documents of a corpus is what the job then counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs import classify, plan
from jobs.plan_settings import PlanSettings
from jobs.settings import ClassifySettings

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.usefixtures("ray_cluster")
def test_the_plan_of_a_corpus_is_what_the_job_counts(tmp_path: Path) -> None:
    same: dict[str, Any] = {
        "inputs": [str(DATA / "rfc-sample" / "rfcs.parquet")],
        "model": str(DATA / "rfc-model"),
        "id_column": "doc_id",
        "device": "cpu",
        "encoders": "1",
        "max_chunks": 12,
        "stride": 32,
    }
    report = plan.run(PlanSettings.model_validate(same | {"time_encoder": False}))
    output = tmp_path / "out"
    counted = classify.run(ClassifySettings.model_validate(same | {"output": str(output), "progress": "none"}))
    labelled = ds.dataset(str(output), format="parquet").to_table()
    totals = {name: found["value"] for name, found in report["totals"].items()}
    assert report["inventory"]["documents"] == counted["documents"] == labelled.num_rows == 40
    assert totals["tokens"] == counted["tokens"] == pc.sum(labelled["num_tokens"]).as_py()
    assert totals["chunks"] == counted["chunks"] == pc.sum(labelled["num_chunks"]).as_py()
    assert totals["truncated"] == counted["truncated"] == pc.sum(labelled["truncated"]).as_py()
    assert 0 < totals["truncated"] < 40
    shards = pq.read_table(output / "_strideformer" / "plan.parquet")["shard"]
    assert report["times"][0]["shards"] == counted["shards"] == len(shards.unique())
