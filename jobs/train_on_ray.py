"""The same training in several processes of a Ray cluster, by Ray Train's TorchTrainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strideformer import Strideformer
from strideformer.errors import StrideformerError
from strideformer.training.batches import Collate
from strideformer.training.documents import Documents
from strideformer.training.options import TrainingOptions
from strideformer.training.trainer import Report, TrainingResult

# Rank 0 leaves the best weights here for the driver.
WEIGHTS, RESULT = "best.safetensors", "result.pt"


def on_ray(workers: int) -> Any:
    """A way of training, as ``strideformer.training.trainer.train``, with so many processes.

    The output folder must be one that every node sees, as checkpoints are written and read there. Documents travel
    once a node through Ray's object store. One GPU a process where the cluster has GPUs.
    """

    def train(
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
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from safetensors.torch import load_file

        if callbacks:
            raise StrideformerError("--report-to tensorboard is of one process: leave it out with --workers")
        ray.init(ignore_reinit_error=True, logging_level="ERROR")
        given = (model, training, validation, collate, options, str(folder.resolve()), resume, report_to, use_cpu)
        has_gpus = not use_cpu and ray.cluster_resources().get("GPU", 0) >= workers
        TorchTrainer(
            _in_one_process,
            train_loop_config={"given": ray.put(given)},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=has_gpus),
            run_config=RunConfig(storage_path=str(folder.resolve()), name="ray"),
        ).fit()
        if not (folder / WEIGHTS).exists():
            raise StrideformerError(
                f"the processes wrote no weights to {folder}: choose an output folder that every node sees"
            )
        model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        model.eval()
        result = TrainingResult(**torch.load(folder / RESULT, weights_only=True))
        for row in result.history:
            report(row)
        return result

    return train


def _in_one_process(config: dict[str, Any]) -> None:
    import ray
    import torch
    from safetensors.torch import save_file

    from strideformer.model import FIRST_MODEL
    from strideformer.training.trainer import train

    model, training, validation, collate, options, folder, resume, report_to, use_cpu = ray.get(config["given"])
    result = train(
        model,
        training,
        validation,
        collate,
        options,
        Path(folder),
        resume=resume,
        report_to=report_to,
        use_cpu=use_cpu,
    )
    if ray.train.get_context().get_world_rank() == 0:
        frozen = model.config.freeze_first_model
        weights = model.state_dict().items()
        kept = {n: w.cpu().contiguous() for n, w in weights if not (frozen and n.startswith(FIRST_MODEL))}
        torch.save(dataclasses.asdict(result), Path(folder) / RESULT)
        save_file(kept, Path(folder) / WEIGHTS)
