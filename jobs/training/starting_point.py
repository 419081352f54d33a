"""Where training goes on from: a checkpoint, with its labels, its chunking and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobs.stored_model import local_model
from jobs.train_settings import TrainSettings
from jobs.training.data import TrainingData
from jobs.training.labels import LabelEncoding
from jobs.training.setup import CHUNKING, aggregator_fields, refused_values, set_dropout
from strideformer import Strideformer, StrideformerConfig
from strideformer.checkpoint import checkpoint_folders
from strideformer.errors import StrideformerError
from strideformer.predictions import LabelSpace
from strideformer.pretrained_model import FIRST_MODEL


@dataclass(frozen=True)
class StartingPoint:
    """A checkpoint whose weights a run begins with, in place of new ones.

    Attributes:
        name: as it was given.
        folder: of it, on this machine.
        config: as it was saved.
    """

    name: str
    folder: Path
    config: StrideformerConfig

    @classmethod
    def of(cls, settings: TrainSettings) -> StartingPoint | None:
        """That of a run; None where all but the encoder is new.

        Raises:
            StrideformerError: it is no Strideformer, or it or its encoder is not there.
        """
        if settings.start_from is None:
            return None
        folder = checkpoint_folders(local_model(settings.start_from, settings.storage_option))["checkpoint"]
        return cls(settings.start_from, folder, StrideformerConfig.from_pretrained(folder))

    @property
    def encoding(self) -> LabelEncoding:
        """Its labels, which are those of the run."""
        space = LabelSpace.of(self.config)
        return LabelEncoding(space.problem_type, space.names, self.name)

    @property
    def has_encoder(self) -> bool:
        """Whether the encoder's weights are in the checkpoint, and so perhaps nowhere else."""
        return self.config.first_model_hash is None

    def new_config(self, settings: TrainSettings, data: TrainingData) -> StrideformerConfig:
        """The checkpoint's config with what the settings say otherwise, and not calibrated.

        Raises:
            StrideformerError: a field of ``--aggregator`` is unknown or wrong.
        """
        cut = {name: getattr(settings, name) for name in CHUNKING if getattr(settings, name) is not None}
        changed: dict[str, Any] = {**cut, **aggregator_fields(settings, data)}
        changed |= {"freeze_first_model": settings.freeze_first_model, "problem_type": data.encoding.problem_type}
        changed |= {"temperature": 1.0, "thresholds": None}
        with refused_values(settings):
            config: StrideformerConfig = StrideformerConfig.from_dict(self.config.to_dict() | changed)
        set_dropout(config.first_model_config, settings.first_model_dropout)
        return config

    def new_model(self, config: StrideformerConfig, seed: int) -> Strideformer:
        """The checkpoint's model with another config; in float32 what is trained, and new what only that config has.

        Raises:
            StrideformerError: weights of the checkpoint would not fit.
        """
        self._require_shapes(config)
        torch.manual_seed(seed)
        model = Strideformer.from_pretrained(self.folder, config=config)
        for name, part in model.named_children():
            if not (config.freeze_first_model and FIRST_MODEL.startswith(name)):
                part.float()
        return model

    def _require_shapes(self, config: StrideformerConfig) -> None:
        with torch.device("meta"):
            ours, theirs = (Strideformer(each).state_dict() for each in (config, self.config))
        for name in ours.keys() & theirs.keys():
            if ours[name].shape != theirs[name].shape:
                raise StrideformerError(
                    f"--start-from {self.name}: {name} has the shape {tuple(theirs[name].shape)} there and "
                    f"{tuple(ours[name].shape)} with these settings: leave out what of --aggregator, --chunk-layers "
                    f"and --max-chunks changes it, or train anew with --encoder"
                )
