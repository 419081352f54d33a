"""The job on a real S3 server: read from it, write to it, resume on it, through both S3 clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from jobs import classify
from jobs.corpus.storage import resolve
from strideformer.errors import StrideformerError
from tests.integration.test_classify import labelled as labelled_locally
from tests.integration.test_classify import settings
from tests.s3_server import S3Server
from tests.tiny import write_corpus

pytestmark = pytest.mark.usefixtures("ray_cluster")

CLIENTS = {"native": {}, "s3fs": {"backend": "s3fs"}}


def upload(local: Path, url: str) -> None:
    filesystem, path = resolve(url, {})
    with filesystem.open_output_stream(path) as stream:
        stream.write(local.read_bytes())


def labelled(url: str) -> list[dict[str, Any]]:
    filesystem, path = resolve(url, {})
    table = ds.dataset(path, filesystem=filesystem, format="parquet").to_table()
    return table.sort_by([("source", "ascending"), ("row", "ascending")]).to_pylist()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_same_labels_as_on_local_disk_and_a_resume(
    tmp_path: Path, tiny_checkpoint: Path, s3_bucket: str, client: str
) -> None:
    ids = write_corpus(tmp_path / "a.parquet", 60)
    upload(tmp_path / "a.parquet", f"s3://{s3_bucket}/corpus/a.parquet")
    options = CLIENTS[client]
    common: dict[str, Any] = {"id_column": "doc_id", "shard_rows": 5, "encoders": "2"}
    remote = settings(
        Path("unused"), f"s3://{s3_bucket}/out", tiny_checkpoint, storage_option=options, **common
    ).model_copy(update={"inputs": [f"s3://{s3_bucket}/corpus/"], "model": f"s3://{s3_bucket}/model"})
    for file in tiny_checkpoint.iterdir():
        upload(file, f"s3://{s3_bucket}/model/{file.name}")
    first = classify.run(remote)
    classify.run(settings(tmp_path / "a.parquet", tmp_path / "out", tiny_checkpoint, **common))
    on_s3, on_disk = labelled(f"s3://{s3_bucket}/out"), labelled_locally(tmp_path / "out")
    assert [row["doc_id"] for row in on_s3] == ids
    assert [row["label"] for row in on_s3] == [row["label"] for row in on_disk]

    filesystem, root = resolve(f"s3://{s3_bucket}/out", {})
    filesystem.delete_file(f"{root}/part-00000003.parquet")
    filesystem.delete_file(f"{root}/_SUCCESS")
    with pytest.raises(StrideformerError, match="use --resume"):
        classify.run(remote)
    second = classify.run(remote.model_copy(update={"resume": True}))
    of_a_run = {"seconds": 0, "finished_at": ""}
    assert second | of_a_run == first | of_a_run
    assert labelled(f"s3://{s3_bucket}/out") == on_s3
    names = {
        info.base_name for info in filesystem.get_file_info(pafs.FileSelector(root, recursive=True)) if info.is_file
    }
    assert names == {f"part-{shard:08d}.parquet" for shard in range(first["shards"])} | {
        "_SUCCESS",
        "job.json",
        "plan.parquet",
    }


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(
    tiny_checkpoint: Path, s3_server: S3Server, s3_bucket: str, client: str, wrong: str, tmp_path: Path
) -> None:
    result = command(
        [f"s3://{s3_bucket}/corpus", str(tmp_path / "out"), "--model", str(tiny_checkpoint)],
        client,
        {wrong: "WRONGWRONG12"},
    )
    assert result.returncode == 2
    assert f"s3://{s3_bucket}/corpus" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    for secret in (s3_server.secret_key, "WRONGWRONG12"):
        assert secret not in result.stderr + result.stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_missing_buckets(tmp_path: Path, tiny_checkpoint: Path, client: str) -> None:
    write_corpus(tmp_path / "a.parquet", 4)
    model = ["--model", str(tiny_checkpoint)]
    missing_input = command(["s3://no-such-bucket-here/x", str(tmp_path / "out"), *model], client, {})
    missing_output = command([str(tmp_path / "a.parquet"), "s3://no-such-bucket-here/out", *model], client, {})
    for result in (missing_input, missing_output):
        assert result.returncode == 2
        assert "no-such-bucket-here" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_no_secret_is_written(tmp_path: Path, tiny_checkpoint: Path, s3_server: S3Server, s3_bucket: str) -> None:
    write_corpus(tmp_path / "a.parquet", 6)
    upload(tmp_path / "a.parquet", f"s3://{s3_bucket}/a.parquet")
    call = settings(Path("unused"), tmp_path / "out", tiny_checkpoint)
    classify.run(call.model_copy(update={"inputs": [f"s3://{s3_bucket}/a.parquet"]}))
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(written) >= 4
    for file in written:
        assert s3_server.secret_key.encode() not in file.read_bytes()
    assert json.loads((tmp_path / "out" / "_strideformer" / "job.json").read_text())["settings"]["storage_option"] == {}


def command(arguments: list[str], client: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The classify command in a process of its own, where it fails before it needs Ray."""
    options = [part for key, value in CLIENTS[client].items() for part in ("--storage-option", f"{key}={value}")]
    return subprocess.run(
        [sys.executable, "-m", "jobs.classify", *arguments, *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
