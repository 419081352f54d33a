"""A report as a JSON file, on any filesystem, beside what is printed of it."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from jobs.corpus.storage import resolve, write_atomically
from jobs.corpus.storage_errors import require_local_folder, storage_error
from strideformer.errors import StrideformerError


def check_json_file(url: str | None, options: Mapping[str, str], overwrite: bool) -> None:
    """Refuse a JSON file that exists, before anything runs.

    Raises:
        StrideformerError: it does, and ``overwrite`` is not given; it is a folder; or its storage refuses.
    """
    if url is None:
        return
    filesystem, path = resolve(url, options)
    try:
        kind = filesystem.get_file_info(path).type
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, url) from error
    if kind == pyarrow.fs.FileType.Directory:
        raise StrideformerError(f"{url} is a folder: give the name of a file")
    if kind != pyarrow.fs.FileType.NotFound and not overwrite:
        raise StrideformerError(f"{url} exists: choose another file, or give --overwrite")
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        require_local_folder(Path(path).parent)


def write_json(url: str | None, options: Mapping[str, str], report: dict[str, Any]) -> None:
    """Write the report, whole or not at all; figures that are not finite are null there.

    Raises:
        StrideformerError: the storage refuses.
    """
    if url is None:
        return
    content = json.dumps(_finite(report), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    filesystem, path = resolve(url, options)
    try:
        write_atomically(filesystem, path, pa.py_buffer(content), temporary_folder=posixpath.dirname(path))
    except Exception as error:  # fsspec's backends raise types of their own
        raise storage_error(error, url) from error


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
