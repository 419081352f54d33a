"""Bringing a model from where the driver finds it to every process that runs it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.model_copies import make_copy, own_folder
from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from strideformer.model import Strideformer

TOKENIZER_FILE = "checkpoint/tokenizer.json"
# What a model folder may hold that we read: no code, no pickle but the weights-only .bin of old checkpoints.
MODEL_FILES = re.compile(r"[^.].*\.(json|txt|model|safetensors|jinja)|pytorch_model(-\d+-of-\d+)?\.bin")
# Names the folders of a sentence transformer's modules.
MODULES = "modules.json"


@dataclass(frozen=True)
class ModelSource:
    """A checkpoint and its encoder, as files that travel through Ray's object store.

    Workers need neither the driver's disk nor the encoder's package: ``fetch`` writes the files to a folder
    of their node, once a node, and answers with it.

    Attributes:
        fingerprint: sha256 over every file's name and content.
        files: an object reference to ``{relative name: (size,) uint8 array}``, or that mapping itself.
        without_encoder: the files hold the aggregator alone.
    """

    fingerprint: str
    files: Any
    without_encoder: bool = False

    @classmethod
    def of(cls, folders: Mapping[str, Path], tokenizer: str) -> ModelSource:
        """Read model folders from the driver's disk.

        Args:
            folders: ``{"checkpoint": folder}``, with ``"encoder"`` beside it when the checkpoint was saved
                without its encoder's weights.
            tokenizer: the fast tokenizer as JSON, which becomes the checkpoint's ``tokenizer.json``, so that
                workers tokenise without transformers.
        """
        files = {TOKENIZER_FILE: np.frombuffer(tokenizer.encode(), dtype=np.uint8)}
        for part, folder in sorted(folders.items()):
            for name, file in model_files(folder):
                files.setdefault(f"{part}/{name}", np.fromfile(file, dtype=np.uint8))
        return cls(_digest(files), files)

    @classmethod
    def of_aggregator(cls, folder: Path) -> ModelSource:
        """Read a checkpoint's aggregator alone, for vectors that are there already."""
        from safetensors.torch import save

        from strideformer.aggregator import aggregator_state

        files = {
            "checkpoint/config.json": np.fromfile(folder / "config.json", dtype=np.uint8),
            "checkpoint/model.safetensors": np.frombuffer(save(aggregator_state(folder)), dtype=np.uint8),
        }
        return cls(_digest(files), files, without_encoder=True)

    def stored(self) -> ModelSource:
        """The same with its files in Ray's object store, so that they are copied once a node and not per task."""
        import ray

        return replace(self, files=ray.put(self.files))

    def fetch(self) -> Path:
        """Folder on this machine that holds the checkpoint, written by the first process that asks for it."""
        return _fetch(self)

    def is_checkpoint(self) -> bool:
        """Whether this is a Strideformer, and not a bare encoder."""
        config = json.loads((self.fetch() / "config.json").read_text(encoding="utf-8"))
        return bool(config.get("model_type", "strideformer") == "strideformer")

    def load(self) -> Strideformer:
        """The Strideformer, on the CPU (its first model without weights where only the aggregator travels).

        It is without the progress bars of transformers, which would reach the user once for every actor of the
        cluster.
        """
        from transformers.utils import logging

        from strideformer.model import Strideformer

        logging.disable_progress_bar()
        if self.without_encoder:
            from strideformer.aggregator import load_aggregator

            return load_aggregator(self.fetch())
        return Strideformer.from_pretrained(self.fetch())

    def load_encoder(self) -> PreTrainedModel:
        """A bare encoder, on the CPU, without progress bars, too."""
        from transformers.utils import logging

        from strideformer.checkpoint import load_first_model

        logging.disable_progress_bar()
        return load_first_model(self.fetch())

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelSource) and other.fingerprint == self.fingerprint


def _digest(files: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content.data)
    return digest.hexdigest()


def model_files(folder: Path) -> list[tuple[str, Path]]:
    """The files of a model's folder that we read, sorted, each by its name within it.

    Of folders below it only the modules of a sentence transformer: others may be checkpoints of its training, or the
    output of a job, which would change what the model is while the job runs.

    Raises:
        StrideformerError: modules.json is not what a sentence transformer has.
    """
    files = {file for place in (folder, *_modules(folder)) for file in place.glob("*")}
    named = {file.relative_to(folder).as_posix(): file for file in files if MODEL_FILES.fullmatch(file.name)}
    return [(name, file) for name, file in sorted(named.items()) if file.is_file()]


def _modules(folder: Path) -> list[Path]:
    """The folders of a sentence transformer's modules within its own."""
    file = folder / MODULES
    return [folder / path for path in module_paths(file.read_bytes(), str(file))] if file.is_file() else []


def module_paths(content: bytes, place: str) -> list[str]:
    """The folders that a sentence transformer's modules.json names, but those that lie outside of its own.

    Args:
        content: of the file.
        place: the file, for an error.

    Raises:
        StrideformerError: it is not what a sentence transformer has.
    """
    try:
        paths = [Path(module["path"]) for module in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise StrideformerError(f"{place} is no list of modules with a path each: save the model again") from error
    return [path.as_posix() for path in paths if path.parts and ".." not in path.parts and not path.is_absolute()]


@lru_cache(maxsize=4)
def _fetch(source: ModelSource) -> Path:
    target = own_folder() / source.fingerprint[:32]

    def write(staged: Path) -> None:
        files = source.files
        if not isinstance(files, dict):
            import ray

            files = ray.get(files)
        for name, content in files.items():
            file = staged / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        _point_at_encoder(staged, target)

    make_copy(target, write)
    return target / "checkpoint"


def _point_at_encoder(staged: Path, target: Path) -> None:
    """Let the checkpoint's config name the encoder that travelled with it."""
    if (staged / "encoder").exists():
        config = staged / "checkpoint" / "config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        values["first_model_name"] = str(target / "encoder")
        config.write_text(json.dumps(values, indent=2), encoding="utf-8")
