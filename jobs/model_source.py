"""Bringing a model from where the driver finds it to every process that runs it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strideformer.errors import StrideformerError

if TYPE_CHECKING:
    from strideformer.model import Strideformer

TOKENIZER_FILE = "checkpoint/tokenizer.json"
# What a model folder may hold that we read: no code, no pickle but the weights-only .bin of old checkpoints.
MODEL_FILES = re.compile(r"[^.].*\.(json|txt|model|safetensors|jinja)|pytorch_model(-\d+-of-\d+)?\.bin")
# In a copy of a model, the size of each of its other files; written last.
COMPLETE = "complete"


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
    file = folder / "modules.json"
    try:
        paths = [Path(module["path"]) for module in json.loads(file.read_text("utf-8"))] if file.is_file() else []
    except (ValueError, TypeError, KeyError) as error:
        raise StrideformerError(f"{file} is no list of modules with a path each: save the model again") from error
    return [folder / path for path in paths if path.parts and ".." not in path.parts and not path.is_absolute()]


def own_folder() -> Path:
    """Where this user's models are kept on this machine, made if it is not there.

    Raises:
        StrideformerError: another user was there first.
    """
    folder = Path(tempfile.gettempdir()) / f"strideformer-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StrideformerError(f"{folder} belongs to another user: remove it, or set TMPDIR to another folder")
    return folder


@lru_cache(maxsize=4)
def _fetch(source: ModelSource) -> Path:
    target = own_folder() / source.fingerprint[:32]
    if not is_complete(target):
        files = source.files
        if not isinstance(files, dict):
            import ray

            files = ray.get(files)
        with tempfile.TemporaryDirectory(dir=target.parent) as staging:
            staged = Path(staging) / "model"
            for name, content in files.items():
                file = staged / name
                file.parent.mkdir(parents=True, exist_ok=True)
                content.tofile(file)
            _point_at_encoder(staged, target)
            sizes = {file.relative_to(staged).as_posix(): file.stat().st_size for file in _files_below(staged)}
            (staged / COMPLETE).write_text(json.dumps(sizes), encoding="utf-8")
            _put_in_place(staged, target)
    return target / "checkpoint"


def is_complete(copy: Path) -> bool:
    """Whether a copy of a model is there with all that was written: what clears old files may have left a part."""
    try:
        sizes = json.loads((copy / COMPLETE).read_text(encoding="utf-8"))
        return all((copy / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _put_in_place(staged: Path, target: Path) -> None:
    """Rename a copy of a model to its name, unless another process was quicker; what is left of an earlier one goes."""
    try:
        with (target.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_complete(target):
                return
            if target.exists():
                target.rename(staged.parent / "incomplete")
            staged.rename(target)
    except OSError as error:
        raise StrideformerError(f"cannot write the model to {target}: {error}") from error


def _files_below(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def _point_at_encoder(staged: Path, target: Path) -> None:
    """Let the checkpoint's config name the encoder that travelled with it."""
    if (staged / "encoder").exists():
        config = staged / "checkpoint" / "config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        values["first_model_name"] = str(target / "encoder")
        config.write_text(json.dumps(values, indent=2), encoding="utf-8")
