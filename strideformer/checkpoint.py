"""Where models lie, and checkpoints that are saved without their encoder."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from strideformer.config import PACKAGE
from strideformer.errors import StrideformerError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# How deep below an installed package its model folder may lie.
PACKAGE_DEPTH = 2


def resolve_encoder(name: str) -> Path:
    """The folder of a model, found without asking a hub.

    Args:
        name: a folder; ``package:NAME`` or NAME, an installed package that holds a model folder; or a hub id whose
            config and weights are in the hub cache.

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
    remedy = f"check the name, or download it first with `hf download {name}`"
    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise StrideformerError(
            f"model {name!r} is no folder, no installed package with a model in it, and not in the hub cache: {remedy}"
        ) from error
    if not _has_weights(folder):  # AutoConfig alone has been there
        raise StrideformerError(f"model {name!r} is in the hub cache without its weights: {remedy}")
    return folder


def checkpoint_folder(name: str) -> tuple[Path, PreTrainedConfig]:
    """Folder and config of a Strideformer; its encoder is not looked for.

    Raises:
        StrideformerError: it is not there, or is another kind of model.
    """
    folder = resolve_encoder(name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type != "strideformer":
        raise StrideformerError(
            f"{name} is a {config.model_type} model, not a Strideformer checkpoint: train an aggregator over it first"
        )
    return folder, config


def checkpoint_folders(name: str) -> dict[str, Path]:
    """``{"checkpoint": folder}`` of a Strideformer, with ``"encoder"`` where it was saved without the encoder.

    Raises:
        StrideformerError: it is not there, or is another kind of model, or its encoder is not there.
    """
    folder, config = checkpoint_folder(name)
    if config.first_model_hash is None:
        return {"checkpoint": folder}
    return {"checkpoint": folder, "encoder": resolve_encoder(config.first_model_name)}


def load_first_model(name: str | Path, **kwargs: Any) -> PreTrainedModel:
    """An encoder with its weights, without the pooling head that sentence transformers never use.

    Code that lies beside the weights is never run.

    Raises:
        StrideformerError: there are no weights that can be read, or they need such code.
    """
    from transformers import AutoModel  # here and not above, since it imports strideformer.model: see registration

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the unused head's weights would be reported as unexpected
    kwargs["trust_remote_code"] = False  # unset, transformers asks whoever sits at the terminal
    try:
        try:
            return AutoModel.from_pretrained(name, add_pooling_layer=False, **kwargs)
        except TypeError:
            return AutoModel.from_pretrained(name, **kwargs)
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".: ")
        raise StrideformerError(
            f"the encoder {name} cannot be loaded ({reason}): give a folder, package or hub id with whole weights"
        ) from error
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


def hash_of_left_out(name: str | None, state: Mapping[str, Tensor]) -> str:
    """The hash for a checkpoint that leaves these weights of its first model out and names them instead.

    It is the hash of the weights that the name stands for; those left out must be the same, in their number format.

    Raises:
        StrideformerError: there is no name, nothing of that name, or its weights are others.
    """
    if name is None:
        raise StrideformerError("the encoder has no name to be found by: give first_model_name, or include it")
    named = load_first_model(resolve_encoder(name)).state_dict()
    if named.keys() != state.keys() or not all(
        torch.equal(named[key].cpu().to(weight.dtype), weight.detach().cpu()) for key, weight in state.items()
    ):
        raise StrideformerError(
            f"the first model has other weights than those of {name}, and would be lost: save with "
            f"include_first_model=True"
        )
    return weights_hash(named)


def _has_weights(folder: Path) -> bool:
    return any((folder / weights).is_file() for weights in WEIGHTS)


def _model_in_package(package: str) -> Path | None:
    """The model folder inside an installed package, which is not imported."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        for depth in range(PACKAGE_DEPTH + 1):
            for config in sorted(Path(location).glob("*/" * depth + "config.json")):
                if _has_weights(config.parent):
                    return config.parent
    return None
