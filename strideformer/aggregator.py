"""The second model of a checkpoint without the first, for vectors that are there already."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from strideformer.config import StrideformerConfig
from strideformer.errors import StrideformerError, first_line
from strideformer.model import Strideformer
from strideformer.pretrained_model import FIRST_MODEL


def load_aggregator(folder: Path) -> Strideformer:
    """A checkpoint's Strideformer whose first model has no weights and takes no memory.

    Its ``aggregate``, and so DocumentAggregator, works on chunk vectors; its ``forward`` on tokens does not.

    Raises:
        StrideformerError: the checkpoint's weights cannot be read, are not all there, or are of other shapes than its
            config's.
    """
    config = StrideformerConfig.from_pretrained(folder)
    with torch.device("meta"):
        model: Strideformer = Strideformer(config)
    try:
        missing, _ = model.load_state_dict(aggregator_state(folder), strict=False, assign=True)
    except RuntimeError as error:  # shapes
        raise StrideformerError(
            f"the weights of the checkpoint {folder} are not those that its config describes "
            f"({str(error).splitlines()[-1].strip().rstrip('.')}): give the config.json that was saved with them"
        ) from error
    missing = [name for name in missing if not name.startswith(FIRST_MODEL)]
    if missing:
        raise StrideformerError(f"the checkpoint {folder} has no weights for {missing[0]}: give a whole checkpoint")
    model.requires_grad_(False)
    model.eval()
    return model


def aggregator_state(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint that are not the first model's, without reading those into memory.

    Raises:
        StrideformerError: there are none that can be read.
    """
    try:
        for whole, read in (("model.safetensors", _of_safetensors), ("pytorch_model.bin", _of_bin)):
            if (folder / whole).exists():
                return read(folder / whole)
            if (index := folder / f"{whole}.index.json").exists():
                shards = sorted(set(_ours(json.loads(index.read_text(encoding="utf-8"))["weight_map"]).values()))
                return {name: tensor for shard in shards for name, tensor in read(folder / shard).items()}
        raise FileNotFoundError("it has neither model.safetensors nor pytorch_model.bin")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise StrideformerError(
            f"the weights of the checkpoint {folder} cannot be read ({first_line(error)}): give a whole checkpoint"
        ) from error


def _of_safetensors(file: Path) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as weights:
        return {name: weights.get_tensor(name) for name in weights.keys() if not name.startswith(FIRST_MODEL)}  # noqa: SIM118 -- it is no mapping


def _of_bin(file: Path) -> dict[str, Tensor]:
    return _ours(torch.load(file, map_location="cpu", weights_only=True))


def _ours(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith(FIRST_MODEL)}
