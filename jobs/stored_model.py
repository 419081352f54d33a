"""Models that lie in object storage: copied to the driver's disk, once for each state that they are in."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow.fs

from jobs.corpus.filesystems import local_path, scheme_of
from jobs.corpus.retries import PREFLIGHT_PATIENCE_SECONDS, with_retries
from jobs.corpus.storage import read_bytes, resolve
from jobs.corpus.storage_errors import require_bucket, storage_error
from jobs.model_copies import make_copy, own_folder
from jobs.model_source import MODEL_FILES, MODULES, module_paths
from strideformer.errors import StrideformerError


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
        return str(_copy(filesystem, path.rstrip("/"), name))
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, name) from error


def _copy(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> Path:
    """The folder of a model's copy, named by the files' sizes and times, so that another state is another copy."""
    files = _list(filesystem, path)
    if "config.json" not in files:
        raise StrideformerError(f"{url} holds no config.json: give the folder of a model")
    if MODULES in files:
        for folder in module_paths(read_bytes(filesystem, f"{path}/{MODULES}"), f"{url.rstrip('/')}/{MODULES}"):
            files |= {f"{folder}/{name}": info for name, info in _list(filesystem, f"{path}/{folder}").items()}
    state = [url, *([name, info.size, info.mtime_ns] for name, info in sorted(files.items()))]
    target = own_folder() / f"stored-{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}"
    folder = posixpath.basename(path)

    def write(staged: Path) -> None:
        for name, info in files.items():
            content = read_bytes(filesystem, info.path)
            if len(content) != info.size:
                raise StrideformerError(f"{url}: {name} changed while it was read: start the job again")
            (staged / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / folder / name).write_bytes(content)

    make_copy(target, write)
    return target / folder


def _list(filesystem: pyarrow.fs.FileSystem, folder: str) -> dict[str, pyarrow.fs.FileInfo]:
    """The files of a model in a folder, by name; none where there is no folder."""
    selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
    found = with_retries(lambda: filesystem.get_file_info(selector), folder, PREFLIGHT_PATIENCE_SECONDS)
    is_file = pyarrow.fs.FileType.File
    return {info.base_name: info for info in found if info.type == is_file and MODEL_FILES.fullmatch(info.base_name)}
