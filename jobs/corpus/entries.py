"""Files and folders as a storage lists them, natively or through fsspec, with when they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import pyarrow.fs

from strideformer.errors import StrideformerError


@dataclass(frozen=True)
class Entry:
    """A file or folder of a listing.

    Attributes:
        path: the filesystem's own.
        size: bytes, as stored.
        modified: ISO 8601 in UTC with nanoseconds; "" where the storage does not tell.
    """

    path: str
    size: int
    modified: str
    is_folder: bool


def look(filesystem: pyarrow.fs.FileSystem, path: str) -> Entry | None:
    """What is at a path; None where there is nothing.

    Raises:
        StrideformerError: it is a pipe or a device.
    """
    info = filesystem.get_file_info(path)
    if info.type == pyarrow.fs.FileType.NotFound:
        return None
    if info.type == pyarrow.fs.FileType.Unknown:
        raise StrideformerError(f"{path} is a pipe or a device, which can be read once only: write it to a file first")
    if info.type == pyarrow.fs.FileType.File and _fsspec_handler(filesystem):
        return _from_fsspec(filesystem.handler.fs.info(path))
    return _from_native(info)


def list_folder(filesystem: pyarrow.fs.FileSystem, folder: str, recursive: bool) -> list[Entry]:
    """What is in a folder; empty if it is not there."""
    if _fsspec_handler(filesystem):
        # not through pyarrow's handler: it loses the time of modification
        try:
            found = filesystem.handler.fs.find(folder, maxdepth=None if recursive else 1, withdirs=True, detail=True)
        except FileNotFoundError:
            return []
        entries = [_from_fsspec(info) for info in found.values()]
        return [e for e in entries if e.path.rstrip("/") != folder.rstrip("/") and not e.path.endswith("/")]
    selector = pyarrow.fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
    found = filesystem.get_file_info(selector)
    return [_from_native(info) for info in found if info.type != pyarrow.fs.FileType.Unknown]  # pipes, as in `walk`


def _fsspec_handler(filesystem: pyarrow.fs.FileSystem) -> bool:
    return isinstance(getattr(filesystem, "handler", None), pyarrow.fs.FSSpecHandler)


def _from_native(info: pyarrow.fs.FileInfo) -> Entry:
    is_folder = info.type == pyarrow.fs.FileType.Directory
    modified = "" if is_folder or info.mtime_ns is None else iso_time(info.mtime_ns)
    return Entry(info.path, 0 if is_folder else int(info.size), modified, is_folder)


def _from_fsspec(info: Mapping[str, object]) -> Entry:
    size = info.get("size")
    is_folder = info.get("type") == "directory"
    return Entry(str(info["name"]), size if isinstance(size, int) else 0, modified_of(info), is_folder)


def modified_of(info: Mapping[str, object]) -> str:
    """The time of modification in what an fsspec filesystem tells of a file; "" if it does not tell."""
    moment = next(
        (info[k] for k in ("LastModified", "last_modified", "mtime", "updated", "created") if info.get(k)),
        None,
    )
    if isinstance(moment, datetime):
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return iso_time(int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000)
    if isinstance(moment, int | float):
        return iso_time(int(moment * 1_000_000_000))
    return str(moment or "")


def iso_time(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    """Many small files are written within one second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
