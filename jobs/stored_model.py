"""Models that lie in object storage: copied to the driver's disk, once for each state that they are in."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow.fs

from jobs.corpus.entries import Entry, list_folder
from jobs.corpus.filesystems import local_path, scheme_of
from jobs.corpus.retries import PREFLIGHT_PATIENCE_SECONDS, with_retries
from jobs.corpus.storage import read_bytes, resolve
from jobs.corpus.storage_errors import require_bucket, storage_error
from jobs.model_copies import make_copy, own_folder
from jobs.model_source import MODEL_FILES, MODULES, module_paths
from strideformer.errors import StrideformerError

# What each model that was copied is called, by the folder of its copy.
_given: dict[str, str] = {}


def local_model(name: str, options: Mapping[str, str]) -> str:
    """What a model is called on this machine: by its name, or, of one in a storage, by the folder of its copy.

    Args:
        name: as every job takes it; ``s3://bucket/checkpoint`` or any other URL of a folder is copied.
        options: storage options.

    Raises:
        StrideformerError: there is no model, the storage refuses, or the model changes while it is copied.
    """
    if scheme_of(name) == "file":
        return local_path(name) if "://" in name else name
    filesystem, path = resolve(name, options)
    require_bucket(filesystem, path, name)
    try:
        copy = str(_copy(filesystem, path.rstrip("/"), name))
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, name) from error
    _given[copy] = name.rstrip("/")
    return copy


def as_given(message: str) -> str:
    """What is told of a model's copy, with the URL that the model was given by in place of the copy's folder."""
    for copy, url in _given.items():
        message = message.replace(copy, url)
    return message


def _copy(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> Path:
    """The folder of a model's copy, named by the files' sizes and times, so that another state is another copy."""
    files = _files(filesystem, path, url)
    state = _state(filesystem, files)
    target = own_folder() / f"stored-{hashlib.sha256(json.dumps([url, *state]).encode()).hexdigest()[:32]}"
    folder = posixpath.basename(path)

    def write(staged: Path) -> None:
        for name, entry in files.items():
            content = read_bytes(filesystem, entry.path)
            if len(content) != entry.size:
                raise StrideformerError(f"{url}: {name} changed while it was read: start the job again")
            (staged / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / folder / name).write_bytes(content)
        # A model that is trained again has files of the same sizes.
        if _state(filesystem, _files(filesystem, path, url)) != state:
            raise StrideformerError(f"{url} changed while it was read: start the job again")

    make_copy(target, write)
    return target / folder


def _files(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> dict[str, Entry]:
    """All files of a model, by their names within it."""
    files = _list(filesystem, path)
    if "config.json" not in files:
        raise StrideformerError(f"{url} holds no config.json: give the folder of a model")
    if MODULES in files:
        for folder in module_paths(read_bytes(filesystem, f"{path}/{MODULES}"), f"{url.rstrip('/')}/{MODULES}"):
            files |= {f"{folder}/{name}": entry for name, entry in _list(filesystem, f"{path}/{folder}").items()}
    return files


def _state(filesystem: pyarrow.fs.FileSystem, files: Mapping[str, Entry]) -> list[tuple[str, int, str]]:
    """Names, sizes and times of files; of one that the storage tells no time of, what a hash says of its content."""
    return [
        (name, entry.size, entry.modified or hashlib.sha256(read_bytes(filesystem, entry.path)).hexdigest())
        for name, entry in sorted(files.items())
    ]


def _list(filesystem: pyarrow.fs.FileSystem, folder: str) -> dict[str, Entry]:
    """The files of a model in a folder, by name; none where there is no folder."""
    found = with_retries(lambda: list_folder(filesystem, folder, recursive=False), folder, PREFLIGHT_PATIENCE_SECONDS)
    named = {posixpath.basename(entry.path): entry for entry in found if not entry.is_folder}
    return {name: entry for name, entry in named.items() if MODEL_FILES.fullmatch(name)}
