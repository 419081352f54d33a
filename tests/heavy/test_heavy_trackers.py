"""Curves at MLflow's own server, over a SQLite file, and in the files of Weights & Biases offline: read back.

``make test-heavy`` installs the server beside the environment of the tests, since it wants an older pyarrow.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.tiny import tiny_tokenizer, write_topics

SERVER = Path(os.environ.get("MLFLOW_SERVER", Path(sys.prefix) / "mlflow-server" / "bin" / "mlflow"))
EPOCHS = 3


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not SERVER.exists():
        pytest.skip(f"there is no MLflow server at {SERVER}: make test-heavy installs one")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(SERVER), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{url}/health").close()
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield url
        assert (folder / "runs.db").stat().st_size
    finally:
        process.terminate()
        process.wait()


def trained(folder: Path, tracker: str, **environment: str) -> list[dict[str, float]]:
    """The train command with a tracker; the history that it wrote beside the checkpoint."""
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=128, hidden_size=32, **shape)).save_pretrained(folder / "encoder")
    tiny_tokenizer(folder / "encoder")
    write_topics(folder / "train.parquet", 40)
    command = [sys.executable, "-m", "jobs.train", "--train", str(folder / "train.parquet"), "--label-column", "topic"]
    command += ["--validation", "0.3", "--encoder", str(folder / "encoder"), "--output", str(folder / "model")]
    command += ["--max-length", "16", "--stride", "4", "--epochs", str(EPOCHS), "--learning-rate", "0.003"]
    command += ["--device", "cpu", "--report-to", tracker, "--no-compare-baselines"]
    command += ["--aggregator", "num_attention_heads=4"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    history: list[dict[str, float]] = json.loads((folder / "model" / "training.json").read_text())["history"]
    assert len(history) == EPOCHS
    return history


def test_an_mlflow_server_holds_the_curves_and_the_settings(tmp_path: Path, mlflow_server: str) -> None:
    history = trained(tmp_path, "mlflow", MLFLOW_TRACKING_URI=mlflow_server, MLFLOW_EXPERIMENT_NAME="topics")

    def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{mlflow_server}/api/2.0/mlflow/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            values: dict[str, Any] = json.load(answer)
        return values

    experiment = ask("experiments/get-by-name?experiment_name=topics")["experiment"]["experiment_id"]
    [run] = ask("runs/search", {"experiment_ids": [experiment]})["runs"]
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == "model"
    for curve, name in (("loss", "train_loss"), ("eval_accuracy", "eval_accuracy"), ("eval_loss", "eval_loss")):
        points = ask(f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={curve}")["metrics"]
        assert [point["step"] for point in points] == [row["step"] for row in history]
        assert [point["value"] for point in points] == pytest.approx([row[name] for row in history], abs=1e-4)
    settings = {entry["key"]: entry["value"] for entry in run["data"]["params"]}
    assert (settings["learning_rate"], settings["num_train_epochs"], settings["stride"]) == ("0.003", str(EPOCHS), "4")
    assert settings["per_device_train_batch_size"] == "16"


def records_of_log(log: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it: blocks of 32 KiB of (checksum, length, type, bytes)."""
    block, header, position = 1 << 15, 7, 7
    record = b""
    while position + header <= len(log):
        if block - position % block < header:
            position += block - position % block
            continue
        length, kind = struct.unpack_from("<HB", log, position + 4)
        record += log[position + header : position + header + length]
        position += header + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def test_weights_and_biases_holds_the_curves_offline(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="make test-heavy installs it")
    from wandb.proto.wandb_internal_pb2 import Record

    history = trained(tmp_path, "wandb", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_PROJECT="topics")
    [file] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rows: list[dict[str, Any]] = []
    configured: dict[str, Any] = {}
    for data in records_of_log(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        for change in (*record.config.update, *record.run.config.update):
            configured[change.key or "/".join(change.nested_key)] = json.loads(change.value_json)
    for curve, name in (("train/loss", "train_loss"), ("eval/accuracy", "eval_accuracy"), ("eval/loss", "eval_loss")):
        points = [(row["train/global_step"], row[curve]) for row in rows if curve in row]
        assert [step for step, _ in points] == [row["step"] for row in history]
        assert [value for _, value in points] == pytest.approx([row[name] for row in history], abs=1e-4)
    assert configured["learning_rate"] == 0.003, wandb.__version__
