"""An S3 listing has pages of 1,000 names: more objects than that, in and out."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import classify
from jobs.corpus.storage import resolve
from tests.integration.test_classify import settings
from tests.integration.test_s3 import labelled

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_more_than_a_thousand_objects_in_and_out(tmp_path: Path, tiny_checkpoint: Path, s3_bucket: str) -> None:
    filesystem, root = resolve(f"s3://{s3_bucket}/many", {})
    for index in range(1_100):
        with filesystem.open_output_stream(f"{root}/{index:04d}.txt") as stream:
            stream.write(b"court law tax" if index % 2 else b"router packet")
    call = settings(Path("unused"), f"s3://{s3_bucket}/out", tiny_checkpoint, shard_rows=1)
    totals = classify.run(call.model_copy(update={"inputs": [f"s3://{s3_bucket}/many"]}))
    assert totals["labelled"] == totals["shards"] == 1_100
    rows = labelled(f"s3://{s3_bucket}/out")
    assert [row["source"].rsplit("/", 1)[1] for row in rows] == [f"{index:04d}.txt" for index in range(1_100)]
