"""The same training in several processes of a Ray cluster, by Ray Train's TorchTrainer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jobs.resources import connect, disconnect
from jobs.sharded_job import JobFailedError
from strideformer import Strideformer
from strideformer.errors import StrideformerError
from strideformer.training.batches import Collate
from strideformer.training.documents import Documents
from strideformer.training.options import TrainingOptions
from strideformer.training.trainer import Report, TrainingResult

# Rank 0 leaves the best weights here for the driver.
WEIGHTS, RESULT = "best.safetensors", "result.pt"
# Ray Train's own limit of 60 s for processes to start is reached on a busy machine, where they import torch; it then
# starts them again, for ever.
SECONDS_TO_START = 600
# Processes that die, and starts that fail, before the run is given up; each goes on from the last checkpoint.
FAILURES = 3


@contextmanager
def on_ray(workers: int, device: str) -> Iterator[Callable[..., TrainingResult]]:
    """A way of training, as ``strideformer.training.trainer.train``, with so many processes of a Ray cluster.

    A process that dies takes the others with it, and all go on from the last checkpoint. The output folder must be one
    that every node sees, as checkpoints are written and read there. Documents travel once a node through Ray's object
    store. One GPU a process where the cluster has GPUs, whatever the machine has that starts it.

    Args:
        workers: how many processes.
        device: ``cpu``, ``cuda``, or ``auto``, which is the GPUs of a cluster that has any.

    Raises:
        StrideformerError: there is no cluster, or it has too few processors or GPUs; before any data is read.
    """
    import ray

    # Imports of torch and transformers take a minute and more on a machine with much else to do.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(SECONDS_TO_START))
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it shows every line twice
    ours = connect(None, dashboard=True)
    try:
        yield partial(_train, workers, uses_gpus(workers, device, ray.cluster_resources()))
    finally:
        if ours:
            disconnect()


def uses_gpus(workers: int, device: str, resources: Mapping[str, float]) -> bool:
    """Whether each process gets a GPU.

    Args:
        workers, device: as of `on_ray`.
        resources: of the cluster, by Ray's names.

    Raises:
        StrideformerError: there are more processes than processors, for which Ray would wait for ever, or than GPUs.
    """
    processors, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if workers > processors:
        raise StrideformerError(
            f"--workers {workers} is more than the {processors} CPUs of the Ray cluster: give at most {processors}"
        )
    if device == "cpu" or (device == "auto" and not gpus):
        return False
    if workers > gpus:
        raise StrideformerError(
            f"--workers {workers} is more than the {gpus} GPUs of the Ray cluster: give fewer, or --device cpu"
        )
    return True


def _train(
    workers: int,
    use_gpu: bool,
    model: Strideformer,
    training: Documents,
    validation: Documents,
    collate: Collate,
    options: TrainingOptions,
    folder: Path,
    *,
    resume: bool = False,
    report_to: Sequence[str] = (),
    use_cpu: bool = False,
    callbacks: Sequence[Any] = (),
    report: Report = lambda row: None,
) -> TrainingResult:
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from safetensors.torch import load_file

    # not use_cpu: what the machine that starts this has says nothing of the cluster
    if callbacks:
        raise StrideformerError("callbacks do not travel to other processes: leave them out with --workers")
    given = (model, training, validation, collate, options, str(folder.resolve()), report_to, not use_gpu, report)
    trainer = TorchTrainer(
        _in_one_process,
        train_loop_config={"given": ray.put(given)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        run_config=RunConfig(
            storage_path=str(folder.resolve()),
            name="ray",
            failure_config=FailureConfig(max_failures=FAILURES, controller_failure_limit=FAILURES),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        reason = str(error).strip().splitlines()[-1]
        raise JobFailedError(
            f"training in {workers} processes failed more than {FAILURES} times ({reason}): the same command with "
            f"--resume goes on from the last checkpoint"
        ) from error
    if not (folder / WEIGHTS).exists():
        raise StrideformerError(
            f"the processes wrote no weights to {folder}: choose an output folder that every node sees"
        )
    model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    model.eval()
    return TrainingResult(**torch.load(folder / RESULT, weights_only=True))


def _in_one_process(config: dict[str, Any]) -> None:
    import ray
    import torch
    from safetensors.torch import save_file

    from strideformer.pretrained_model import FIRST_MODEL
    from strideformer.training.trainer import train

    model, training, validation, collate, options, folder, report_to, use_cpu, report = ray.get(config["given"])
    result = train(
        model,
        training,
        validation,
        collate,
        options,
        Path(folder),
        resume=True,  # from nothing where this is the first attempt: the folder is new then
        report_to=report_to,
        use_cpu=use_cpu,
        report=report,
    )
    if ray.train.get_context().get_world_rank() == 0:
        frozen = model.config.freeze_first_model
        weights = model.state_dict().items()
        kept = {n: w.cpu().contiguous() for n, w in weights if not (frozen and n.startswith(FIRST_MODEL))}
        torch.save(dataclasses.asdict(result), Path(folder) / RESULT)
        save_file(kept, Path(folder) / WEIGHTS)
