"""Where models lie, and checkpoints that are saved without their encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from strideformer.errors import StrideformerError

PACKAGE = "package:"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# How deep below an installed package its model folder may lie.
PACKAGE_DEPTH = 2


def resolve_encoder(name: str) -> Path:
    """The folder of a model, found without asking a hub.

    Args:
        name: a folder; ``package:NAME`` or NAME, an installed package that holds a model folder; or a hub id whose
            files are in the hub cache.

    Raises:
        StrideformerError: there is none.
    """
    if not name.startswith(PACKAGE):
        folder = Path(name).expanduser()
        if (folder / "config.json").is_file():
            return folder
        if folder.is_dir():
            raise StrideformerError(f"{name} is a folder without a config.json: give a model's folder")
    package = name.removeprefix(PACKAGE)
    if package.isidentifier() and (found := _model_in_package(package)) is not None:
        return found
    if name.startswith(PACKAGE):
        raise StrideformerError(
            f"{name}: no installed package {package!r} holds a model folder: pip install {package.replace('_', '-')}"
        )
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise StrideformerError(
            f"model {name!r} is no folder, no installed package with a model in it, and not in the hub cache: "
            f"check the name, or download it first with `hf download {name}`"
        ) from error


def checkpoint_folders(name: str) -> dict[str, Path]:
    """``{"checkpoint": folder}`` of a Strideformer, with ``"encoder"`` where it was saved without the encoder.

    Raises:
        StrideformerError: it is not there, or is another kind of model, or its encoder is not there.
    """
    folder = resolve_encoder(name)
    config = AutoConfig.from_pretrained(folder)
    if config.model_type != "strideformer":
        raise StrideformerError(
            f"{name} is a {config.model_type} model, not a Strideformer checkpoint: train an aggregator over it first"
        )
    if config.first_model_hash is None:
        return {"checkpoint": folder}
    return {"checkpoint": folder, "encoder": resolve_encoder(config.first_model_name)}


def load_first_model(name: str | Path, **kwargs: Any) -> PreTrainedModel:
    """An encoder with its weights, without the pooling head that sentence transformers never use."""
    from transformers import AutoModel  # here and not above, since it imports strideformer.model: see registration

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the unused head's weights would be reported as unexpected
    try:
        try:
            return AutoModel.from_pretrained(name, add_pooling_layer=False, **kwargs)
        except TypeError:
            return AutoModel.from_pretrained(name, **kwargs)
    finally:
        logging.set_verbosity(verbosity)


def new_first_model(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of this config with new weights, without the pooling head."""
    from transformers import AutoModel

    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:
        return AutoModel.from_config(config)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over a model's tensors by name, shape and value.

    Floating-point tensors are compared as float32, so that neither the file's format nor a number format that holds
    every value exactly makes a difference. Pooling heads are left out, since we never run them.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith("pooler."):
            continue
        tensor = state[name].detach().cpu()
        values = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def name_of_encoder(config: PreTrainedConfig) -> str | None:
    """How a checkpoint over this first model can name it: its package where it lies in one, else as it was given."""
    name = str(getattr(config, "_name_or_path", "") or "")
    parts = Path(name).parts
    if "site-packages" in parts[:-1]:
        return PACKAGE + parts[len(parts) - parts[::-1].index("site-packages")]
    return name or None


def load_named_first_model(name: str, expected_hash: str, checkpoint: str) -> PreTrainedModel:
    """The encoder that a checkpoint was trained with and saved without.

    Raises:
        StrideformerError: it is not there, or its weights are others.
    """
    encoder = load_first_model(resolve_encoder(name))
    found = weights_hash(encoder.state_dict())
    if found != expected_hash:
        raise StrideformerError(
            f"checkpoint {checkpoint} was trained over an encoder with other weights than those of {name} "
            f"(hash {expected_hash[:12]}, found {found[:12]}): install the encoder that it was trained with"
        )
    return encoder


def _model_in_package(package: str) -> Path | None:
    """The model folder inside an installed package, which is not imported."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        for depth in range(PACKAGE_DEPTH + 1):
            for config in sorted(Path(location).glob("*/" * depth + "config.json")):
                if any((config.parent / weights).is_file() for weights in WEIGHTS):
                    return config.parent
    return None
