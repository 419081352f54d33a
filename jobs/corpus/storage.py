"""Where inputs and outputs lie: URLs to filesystems, and whole-file writes that are all or nothing."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from jobs.corpus.filesystems import GS_SCHEMES, S3_SCHEMES, open_filesystem, scheme_of
from jobs.corpus.retries import with_retries
from strideformer.errors import StrideformerError

_SECRET_NAME = re.compile(r"secret|key|token|passw|credential|connection_string|sas|sig(nature)?$", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"[?&][^=&]*(signature|sig|token|secret|key|password|credential)[^=&]*=", re.IGNORECASE)
_OBJECT_STORES = {
    "s3",
    "s3a",
    "s3n",
    "gs",
    "gcs",
    "abfs",
    "abfss",
    "az",
    "adl",
    "memory",
    "hf",
    "oss",
    "oci",
    "swift",
}


def refuse_secrets(options: Mapping[str, str]) -> None:
    """Storage options travel to every worker and are written beside the output: none may be a secret.

    Raises:
        StrideformerError: an option's name or value looks like one; the value is not repeated.
    """
    for name, value in options.items():
        if _SECRET_NAME.search(name) or _has_password(value):
            raise StrideformerError(
                f"--storage-option {name} looks like a secret, which must not stand on a command line or in"
                " a file: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or your store's own variables), or"
                " use a profile"
            )


def resolve(url: str, options: Mapping[str, str]) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a URL and the URL's path on it; nothing is asked of the storage yet.

    Local paths may be absolute, relative, start with ``~`` or ``file://``; they become absolute. The
    filesystem is shared within the process and safe to use from several threads.

    Args:
        url: A path, or a URL of any scheme that pyarrow or an installed fsspec package knows.
        options: For S3, ``endpoint_url``, ``region``, ``anon``, ``scheme``, ``connect_timeout`` and
            ``request_timeout`` (seconds), ``max_attempts``, ``role_arn`` are served natively; any other, such
            as ``profile``, goes to s3fs, as everything does with ``backend=s3fs``. Other schemes take the
            options of their fsspec filesystem.

    Raises:
        StrideformerError: a secret in the URL or the options, a path that is not UTF-8, an unknown scheme, a package
            that is missing.
    """
    refuse_secrets(options)
    if not url.strip():
        raise StrideformerError("an empty path was given: name a file, a folder, a glob or a URL")
    if "://" in url and (_has_password(url) or _has_secret_query(url)):
        raise StrideformerError(
            f"the {scheme_of(url)}:// URL carries a password, key or signature, which would be written into"
            " the output's records: take it out and use the environment's credentials or a profile"
        )
    if not is_utf8(url):
        raise StrideformerError(f"the path {url!a} is not UTF-8: rename what is there, or choose another")
    return open_filesystem(url, options)


def is_utf8(name: str) -> bool:
    """False of a name on disk in another encoding, which Python holds with lone surrogates, and no table can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_password(url: str) -> bool:
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    # a user by itself is one elsewhere (sftp) or a container (abfs), and in a web address a token
    return ":" in user or bool(at and scheme_of(url).endswith(("http", "https")))


def _has_secret_query(url: str) -> bool:
    # in names of objects a question mark is a letter as any other
    return scheme_of(url) not in {"file"} | S3_SCHEMES | GS_SCHEMES and bool(_SECRET_QUERY.search(url))


def url_of(filesystem: pyarrow.fs.FileSystem, path: str, near: str) -> str:
    """The URL of ``path`` on the filesystem that ``near`` was resolved to; a local path stays one."""
    if scheme_of(near) == "file":
        return path
    fsspec_filesystem = _fsspec(filesystem)
    if fsspec_filesystem is not None:
        return str(fsspec_filesystem.unstrip_protocol(path))
    authority = near.partition("://")[2].partition("/")[0]
    container, at, account = authority.partition("@")
    if at:  # abfs://container@account.dfs.core.windows.net/…
        path = f"{container}@{account}{path[len(container) :]}"
    return f"{scheme_of(near)}://{path}"


def join(url: str, *names: str) -> str:
    """A URL below a URL (or a path below a path)."""
    return posixpath.join(url.rstrip("/") or "/", *names)


def is_object_store(filesystem: pyarrow.fs.FileSystem) -> bool:
    """True where a PUT is atomic and there are no folders; False where files grow visibly (local, hdfs)."""
    kind = str(filesystem.type_name).removeprefix("py::").removeprefix("fsspec+")
    fsspec_filesystem = _fsspec(filesystem)
    if fsspec_filesystem is not None:
        protocol = fsspec_filesystem.protocol
        kinds = {protocol} if isinstance(protocol, str) else set(protocol)
        return not kinds.isdisjoint(_OBJECT_STORES)
    return kind in _OBJECT_STORES


def open_input(filesystem: pyarrow.fs.FileSystem, path: str) -> pa.NativeFile:
    """Open a file for reading at any offset.

    pyarrow's own handler for fsspec turns every failure of the look-up before it, a refused key or a lost
    connection too, into "not found": hence not through it.
    """
    fsspec_filesystem = _fsspec(filesystem)
    if fsspec_filesystem is not None:
        return pa.PythonFile(fsspec_filesystem.open(path, "rb"), mode="r")
    return filesystem.open_input_file(path)


def read_bytes(filesystem: pyarrow.fs.FileSystem, path: str) -> bytes:
    """The whole content of a file."""

    def read() -> bytes:
        with open_input(filesystem, path) as file:
            return bytes(file.read())

    return with_retries(read, path)


def exists(filesystem: pyarrow.fs.FileSystem, path: str) -> bool:
    """True for a file or a folder, also one that an object store only has by its objects' names."""
    return bool(_type_of(filesystem, path) != pyarrow.fs.FileType.NotFound)


def list_names(filesystem: pyarrow.fs.FileSystem, folder: str) -> set[str]:
    """The names of the files and folders in a folder, not of what is below; empty if there is no folder.

    Files of zero bytes are left out: nothing that a job publishes is empty, but some stores (Azure) show an
    empty file while one is being written.
    """
    selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
    entries = with_retries(lambda: filesystem.get_file_info(selector), folder)
    is_file = pyarrow.fs.FileType.File
    return {entry.base_name for entry in entries if not (entry.type == is_file and entry.size == 0)} - {""}


def delete(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Delete a file, or a folder with all below it; no error if nothing is there."""
    kind = _type_of(filesystem, path)
    try:
        if kind == pyarrow.fs.FileType.Directory:
            with_retries(lambda: filesystem.delete_dir(path), path)
        elif kind != pyarrow.fs.FileType.NotFound:
            with_retries(lambda: filesystem.delete_file(path), path)
    except FileNotFoundError:
        return  # another process was quicker


def write_atomically(filesystem: pyarrow.fs.FileSystem, path: str, content: pa.Buffer, temporary_folder: str) -> None:
    """Publish a whole file: afterwards all of it is there under its name, or, after any failure, none of it.

    Object stores get one PUT (or one multipart upload). Elsewhere the file is written into
    ``temporary_folder`` (made if missing; on the same filesystem as ``path``) and renamed; on a local disk it
    is flushed to the device first. An earlier file of that name is replaced.
    """
    with_retries(lambda: _write(filesystem, path, content, temporary_folder), path)


def _write(filesystem: pyarrow.fs.FileSystem, path: str, content: pa.Buffer, temporary_folder: str) -> None:
    fsspec_filesystem = _fsspec(filesystem)
    if is_object_store(filesystem):
        if fsspec_filesystem is not None:
            fsspec_filesystem.pipe_file(path, content.to_pybytes())
        else:
            _put(filesystem, path, content)
        return
    name = f"{posixpath.basename(path)}.{uuid.uuid4().hex}"
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        _write_local(Path(path), Path(temporary_folder) / name, content)
    else:
        _write_and_move(filesystem, path, posixpath.join(temporary_folder, name), content)


def _put(filesystem: pyarrow.fs.FileSystem, path: str, content: pa.Buffer) -> None:
    # not in a with block: leaving it by an exception would close the stream, and closing publishes what
    # has been written so far. The destructor closes too, hence the one write, and the look after a failure.
    stream = filesystem.open_output_stream(path, compression=None)
    try:
        stream.write(content)
        stream.close()
    except BaseException:
        _remove_if_truncated(filesystem, path, stream, content.size)
        raise


def _remove_if_truncated(
    filesystem: pyarrow.fs.FileSystem, path: str, stream: pa.NativeFile, expected_size: int
) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.close()  # fails if the upload failed, and the caller raises why
    try:
        entry = filesystem.get_file_info(path)
        if entry.type == pyarrow.fs.FileType.File and entry.size != expected_size:
            filesystem.delete_file(path)
    except OSError:
        return  # the storage is out of reach, and the caller raises why


def _write_local(path: Path, temporary: Path, content: pa.Buffer) -> None:
    temporary.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:  # open() obeys the umask, where tempfile would make it 0600
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_and_move(filesystem: pyarrow.fs.FileSystem, path: str, temporary: str, content: pa.Buffer) -> None:
    filesystem.create_dir(posixpath.dirname(temporary), recursive=True)
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    try:
        with filesystem.open_output_stream(temporary, compression=None) as stream:
            stream.write(content)
        delete(filesystem, path)  # hdfs and sftp do not rename onto a file that is there
        filesystem.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the reason of the first failure is the one to tell
            delete(filesystem, temporary)
        raise


def _type_of(filesystem: pyarrow.fs.FileSystem, path: str) -> pyarrow.fs.FileType:
    return with_retries(lambda: filesystem.get_file_info(path).type, path)


def _fsspec(filesystem: pyarrow.fs.FileSystem) -> Any:
    """The fsspec filesystem inside, or None for a native one."""
    handler = getattr(filesystem, "handler", None)
    return handler.fs if isinstance(handler, pyarrow.fs.FSSpecHandler) else None
