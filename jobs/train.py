"""The train job: labelled documents to a checkpoint: ``python -m jobs.train``, ``strideformer train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.cli import run_command
from jobs.train_settings import TrainSettings, require_training_packages


def run(settings: TrainSettings) -> dict[str, float]:
    """Train what the settings say. Returns the figures on validation."""
    require_training_packages()
    if settings.baseline is not None:
        from jobs.training import baselines

        return baselines.run(settings)
    from jobs.training import run as training_run
    from strideformer.training.trainer import train

    if settings.workers:
        from jobs.training.on_ray import on_ray

        with on_ray(settings.workers, settings.device) as train_there:
            return training_run.run(settings, train_there)
    return training_run.run(settings, train)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m jobs.train``."""
    return run_command("train", TrainSettings, run, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
