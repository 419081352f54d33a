"""Creating a file only if there is none, on the storages that can promise it."""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from jobs.corpus.filesystems import S3_SCHEMES, scheme_of
from jobs.corpus.retries import with_retries
from jobs.corpus.storage import exists, resolve, write_atomically

# pyarrow's S3 client has no conditional writes (26.0), s3fs has; but it has no equivalent of these options.
_NATIVE_ONLY = {"role_arn", "force_virtual_addressing", "tls_ca_file_path"}


def is_exclusive(url: str, options: Mapping[str, str]) -> bool:
    """Whether :func:`create_if_absent` lets only one of several callers win: on local disks, NFS and S3."""
    return scheme_of(url) == "file" or (scheme_of(url) in S3_SCHEMES and _NATIVE_ONLY.isdisjoint(options))


def create_if_absent(url: str, options: Mapping[str, str], content: bytes, temporary_folder: str) -> bool:
    """Publish a whole small file unless there is one of that name.

    S3 gets a PUT with ``If-None-Match: *``, a local disk a hard link to a finished temporary file. Other storages
    get a look and then a plain write, which two callers may both pass.

    Args:
        url: The file.
        options: Storage options.
        content: What is in it.
        temporary_folder: URL, on the same filesystem.

    Returns:
        False if there is such a file already. A create whose answer was lost on the way is made again and then
        finds its own file, which is False, too: read it to know.
    """
    if scheme_of(url) == "file":
        return _link(Path(resolve(url, options)[1]), Path(resolve(temporary_folder, options)[1]), content)
    if not is_exclusive(url, options):
        filesystem, path = resolve(url, options)
        if exists(filesystem, path):
            return False
        write_atomically(filesystem, path, pa.py_buffer(content), resolve(temporary_folder, options)[1])
        return True
    filesystem, path = resolve(url, {**options, "backend": "s3fs"})

    def put() -> bool:
        try:
            filesystem.handler.fs.pipe_file(path, content, mode="create")
        except OSError as error:  # s3fs has no exception of its own for these; botocore's is behind it
            answer = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
            if answer in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
        return True

    return with_retries(put, url)


def _link(path: Path, temporary_folder: Path, content: bytes) -> bool:
    temporary_folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder / f"{posixpath.basename(path)}.{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(content)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
