"""Training in two processes: of a real Ray cluster, one of which is killed, and of torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import transformers

from jobs import train
from jobs.train_settings import TrainSettings
from strideformer import Pipeline, Strideformer
from strideformer.errors import StrideformerError
from tests.tiny import save_tiny_checkpoint, write_topics


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    checkpoint = save_tiny_checkpoint(tmp_path / "checkpoint")
    Strideformer.from_pretrained(checkpoint).first_model.save_pretrained(tmp_path / "encoder")
    transformers.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path / "encoder")
    write_topics(tmp_path / "train.parquet", 80)
    return tmp_path


def settings(corpus: Path, **more: Any) -> dict[str, Any]:
    values = {
        "train": [str(corpus / "train.parquet")],
        "label_column": "topic",
        "validation": "0.2",
        "output": str(corpus / "model"),
        "encoder": str(corpus / "encoder"),
        "max_length": 16,
        "stride": 4,
        "epochs": 20,
        "learning_rate": 3e-3,
        "batch_size": 8,
        "device": "cpu",
    }
    return values | more


@pytest.fixture
def no_ray() -> Iterator[None]:
    """The command starts a Ray of its own, as it does for a person.

    The session's, which other heavy tests shared, ends here; this module is the last of its folder.
    """
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


def right(corpus: Path) -> None:
    rows = write_topics(corpus / "other.parquet", 30, seed=5)
    predictions = Pipeline(corpus / "model", device="cpu")([row["text"] for row in rows])
    assert sum(one.label == row["topic"] for one, row in zip(predictions, rows, strict=True)) >= 27
    assert not (corpus / "model" / "_training").exists()


@pytest.mark.usefixtures("no_ray")
def test_two_processes_of_ray_train_one_model(corpus: Path) -> None:
    given = settings(corpus, workers=2, report_to="tensorboard")
    assert train.run(TrainSettings.model_validate(given))["accuracy"] > 0.9
    right(corpus)
    assert list((corpus / "model" / "logs").glob("events.*"))


@pytest.mark.usefixtures("no_ray")
def test_two_processes_of_ray_train_both_models(corpus: Path) -> None:
    """Token ids and what cut them travel there; figures and checkpoint are those of one state of the model."""
    given = settings(corpus, workers=2, epochs=2, freeze_first_model=False, first_model_learning_rate=1e-3)
    figures = train.run(TrainSettings.model_validate(given))
    record = json.loads((corpus / "model" / "training.json").read_text())
    assert figures["loss"] in [pytest.approx(row["eval_loss"], abs=1e-6) for row in record["history"]]


@pytest.mark.usefixtures("no_ray")
def test_a_process_of_ray_that_is_killed_is_replaced_and_goes_on(corpus: Path) -> None:
    """SIGKILL of one of two training processes once a checkpoint is there; the run ends as one that was left alone."""
    given = settings(corpus, epochs=25, workers=2)
    killed: list[int] = []

    def kill() -> None:
        checkpoints = corpus / "model" / "_training"
        while not killed:
            if list(checkpoints.glob("checkpoint-*/trainer_state.json")):
                found = [p.pid for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in p.name()]
                found = found or [
                    p.pid
                    for p in psutil.Process().children(recursive=True)
                    if "RayTrainWorker" in " ".join(p.cmdline())
                ]
                if found:
                    os.kill(found[-1], signal.SIGKILL)
                    killed.append(found[-1])
            time.sleep(0.02)

    watcher = threading.Thread(target=kill, daemon=True)
    watcher.start()
    figures = train.run(TrainSettings.model_validate(given))
    assert killed
    history = json.loads((corpus / "model" / "training.json").read_text())["history"]
    assert [row["epoch"] for row in history] == list(range(1, 26)), "no epoch is lost or trained twice"
    alone = train.run(TrainSettings.model_validate(given | {"output": str(corpus / "alone")}))
    assert figures == pytest.approx(alone, abs=1e-4)


@pytest.mark.usefixtures("no_ray")
def test_more_processes_than_processors_are_refused(corpus: Path) -> None:
    with pytest.raises(StrideformerError, match=r"--workers 999 is more than the \d+ CPUs of the Ray cluster"):
        train.run(TrainSettings.model_validate(settings(corpus, workers=999)))


@pytest.mark.parametrize("module", ["jobs.train", "jobs.train_loop"])
def test_two_processes_of_torchrun_train_one_model(corpus: Path, module: str) -> None:
    """What a machine of several GPUs does, on two CPU processes: each takes a share, and one writes."""
    done = torchrun(corpus, module)
    assert done.stdout.count("the checkpoint is in") == 1
    assert done.stdout.count("epoch 1, ") == 1, "one run, and not one a process"
    right(corpus)


@pytest.mark.parametrize("module", ["jobs.train", "jobs.train_loop"])
def test_two_processes_train_an_encoder_of_which_not_all_is_read(corpus: Path, module: str) -> None:
    """Its last layer gets no gradient, for which each process would wait for ever, or fail."""
    more = {"freeze_first_model": False, "chunk_layers": [0, 1], "epochs": 2}
    assert torchrun(corpus, module, **more).stdout.count("the checkpoint is in") == 1


def torchrun(corpus: Path, module: str, **more: Any) -> subprocess.CompletedProcess[str]:
    config = corpus / "job.yaml"
    config.write_text(json.dumps(settings(corpus, device="auto", **more)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", module, "--config", str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done
