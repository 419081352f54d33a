"""Opening an input file: as the very file that was listed and planned, and telling its faults from the storage's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.fs

from jobs.corpus.columns import brief
from jobs.corpus.entries import iso_time, modified_of
from jobs.corpus.listing import InputFile
from jobs.corpus.pieces import Piece
from jobs.corpus.records import BLOCK_BYTES
from jobs.corpus.refusal import FILE_CHANGED, FILE_MISSING, UNREADABLE_FILE, FileRefusedError
from jobs.corpus.storage import open_input, resolve

_ISO = re.compile(r"\d{4}-\d\d-\d\dT")
_TO_THE_SECOND = len("2024-01-01T00:00:00")
_CHANGED = "the input must not change while a job runs; start again with --overwrite"


class WatchedFile:
    """A file that remembers the storage's own failure.

    pyarrow raises OSError both when a page does not decompress, which is for ever, and when the storage
    fails, which may pass; only the second must end the task and be tried again.
    """

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._size = int(file.size())
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> Any:
        left = max(self._size - self.tell(), 0)
        try:
            # a corrupt footer may ask for more than there is memory, which is not the storage's failure
            return self._file.read_buffer(left if size < 0 else min(size, left))
        except Exception as error:
            self.failure = error
            raise

    def seek(self, position: int, whence: int = 0) -> int:
        return int(self._file.seek(position, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The one who opened the file closes it."""


@contextmanager
def opened(file: InputFile | Piece, options: Mapping[str, str]) -> Iterator[tuple[pa.NativeFile, str]]:
    """The stored bytes, and the object's ETag ("" where the storage gives none).

    Raises:
        FileRefusedError: the file is gone, or has another size, time or ETag than when it was listed or planned.
            What the storage raises otherwise passes through.
    """
    filesystem, path = resolve(file.source, options)
    try:
        raw = open_input(filesystem, path)
    except FileNotFoundError as error:
        raise FileRefusedError(FILE_MISSING, f"{file.source} was there when listed and is gone: {_CHANGED}") from error
    with raw:
        size = raw.size()
        if size != file.size:
            raise FileRefusedError(
                FILE_CHANGED, f"{file.source} has {size} bytes where it had {file.size} when listed: {_CHANGED}"
            )
        modified, etag = _version(filesystem, path, raw)
        # the listing of a store may know fractions of a second that the request for one object does not
        length = None if isinstance(filesystem, pyarrow.fs.LocalFileSystem) else _TO_THE_SECOND
        if modified and file.modified and modified[:length] != file.modified[:length]:
            raise FileRefusedError(
                FILE_CHANGED, f"{file.source} was written at {modified}, after it was listed: {_CHANGED}"
            )
        if etag and file.etag and etag != file.etag:
            raise FileRefusedError(FILE_CHANGED, f"{file.source} was written anew since it was planned: {_CHANGED}")
        yield raw, etag


@contextmanager
def decompressed(file: InputFile | Piece, options: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """The file's content as a stream, and its ETag.

    Raises:
        FileRefusedError: as :func:`opened`, or, from within the block, the compressed data is cut short or corrupt.
    """
    with opened(file, options) as (raw, etag):
        if file.compression == "none":
            yield raw, etag
            return
        if not file.size:
            yield pa.BufferReader(b""), etag
            return
        watched = WatchedFile(raw)
        # the decompressor asks for 64 KiB at a time, each of which would be a request to an object store
        buffered = pa.BufferedInputStream(pa.PythonFile(watched, mode="r"), BLOCK_BYTES)
        try:
            yield pa.CompressedInputStream(buffered, file.compression), etag
        except (pa.ArrowException, OSError) as error:
            if watched.failure is not None:
                raise watched.failure from error
            raise FileRefusedError(
                UNREADABLE_FILE, f"{file.source} does not decompress as {file.compression}: {brief(error)}"
            ) from error


def _version(filesystem: pyarrow.fs.FileSystem, path: str, raw: pa.NativeFile) -> tuple[str, str]:
    """Time of modification and ETag; "" for what the storage does not tell.

    A native object store is asked nothing more than at opening.
    """
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        nanoseconds = filesystem.get_file_info(path).mtime_ns
        return ("" if nanoseconds is None else iso_time(nanoseconds)), ""
    if isinstance(filesystem, pyarrow.fs.PyFileSystem):
        details = filesystem.handler.fs.info(path)
        return modified_of(details), str(details.get("ETag") or details.get("etag") or "")
    told = {_text(name).lower(): _text(value) for name, value in (raw.metadata() or {}).items()}
    modified = told.get("last-modified", "")
    return (modified if _ISO.match(modified) else ""), told.get("etag", "")


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
