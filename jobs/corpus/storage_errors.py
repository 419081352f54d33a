"""One sentence for a failed storage call, whichever filesystem made it."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from jobs.corpus.filesystems import GS_SCHEMES, S3_SCHEMES, scheme_of
from jobs.corpus.redaction import without_secrets
from jobs.corpus.retries import PREFLIGHT_PATIENCE_SECONDS, with_retries
from jobs.corpus.storage import delete, resolve, write_atomically
from strideformer.errors import StrideformerError

_CREDENTIALS = (
    "SIGNATURE_DOES_NOT_MATCH",
    "signature we calculated",
    "INVALID_ACCESS_KEY_ID",
    "access key ID you provided",
    "INVALID_CLIENT_TOKEN_ID",
    "UNRECOGNIZED_CLIENT",
    "token included in the request is",
    "Unable to locate credentials",
    "NoCredentials",
    "EXPIRED_TOKEN",
    "token has expired",
    "ProfileNotFound",
    "could not be found",  # botocore: The config profile (x) could not be found
    "Could not load the default credentials",
    "DefaultCredentialsError",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "UNAUTHENTICATED",
    "Unauthorized",
)
_DENIED = ("ACCESS_DENIED", "Access Denied", "AccessDenied", "Forbidden", "PERMISSION_DENIED")
_NO_BUCKET = ("NO_SUCH_BUCKET", "NoSuchBucket", "bucket does not exist", "ContainerNotFound")
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNREACHABLE = (
    "NETWORK_CONNECTION",
    "Could not connect",
    "Cannot connect",
    "Connect timeout",
    "Read timeout",
    "timed out",
    "REQUEST_TIMEOUT",
    "resolve host",
    "Name or service not known",
)


def storage_error(error: BaseException, url: str) -> StrideformerError:
    """The sentence for a failed storage call on ``url``; never with a secret in it.

    A refused request for an object's metadata carries no words of the server, so a wrong key and a right
    that is missing look the same there, and both are named.
    """
    if isinstance(error, StrideformerError):
        return error
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return StrideformerError(f"{url}: no space is left on the disk: free some")
    if isinstance(error, NotADirectoryError):
        return StrideformerError(f"{url} is a file, or lies below one: give a folder")
    if isinstance(error, PermissionError) and scheme_of(url) == "file":
        return StrideformerError(f"{url}: access denied: check who may read and write it")
    if _any(words, _CREDENTIALS):
        return StrideformerError(
            f"{url}: the storage does not accept the credentials: check AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY (or your store's own variables), or the profile"
        )
    if _any(words, _NO_BUCKET):
        return StrideformerError(f"{url}: the bucket does not exist: check its name and the endpoint")
    if isinstance(error, PermissionError) or _any(words, _DENIED):
        return StrideformerError(
            f"{url}: access denied: check the credentials (for S3 AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or the profile) and what they are allowed to do"
        )
    if isinstance(error, FileNotFoundError):
        return StrideformerError(f"{url} does not exist: check the path")
    if _any(words, _UNREACHABLE):
        return StrideformerError(f"{url}: the storage cannot be reached: check the endpoint and the network")
    return StrideformerError(
        f"{url}: the storage failed: {without_secrets((str(error).splitlines() or [words])[0])[:300]}"
    )


def require_bucket(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> None:
    """Refuse a bucket that is not there: some stores would make it at the first write, others fail then.

    Raises:
        StrideformerError: it does not exist, or may not be seen.
    """
    if scheme_of(url) not in S3_SCHEMES | GS_SCHEMES:
        return
    bucket = path.partition("/")[0]
    try:
        info = with_retries(lambda: filesystem.get_file_info(bucket), url, PREFLIGHT_PATIENCE_SECONDS)
        found = info.type != pyarrow.fs.FileType.NotFound
    except Exception as error:  # botocore's errors are no OSErrors
        raise storage_error(error, url) from error
    if not found:
        raise StrideformerError(f"{url}: the bucket does not exist: check its name and the endpoint")


def require_writable(url: str, options: Mapping[str, str], temporary_folder: str) -> None:
    """Write and delete a small file below ``url``, so that a job does not find out after an hour.

    Args:
        url: The output folder; made if it is not there.
        options: Storage options.
        temporary_folder: Where the file goes, relative to ``url``.

    Raises:
        StrideformerError: the bucket is missing, or writing or deleting fails.
    """
    filesystem, path = resolve(url, options)
    require_bucket(filesystem, path, url)
    folder = posixpath.join(path, temporary_folder)
    try:
        write_atomically(filesystem, f"{folder}/probe", pa.py_buffer(b"probe"), temporary_folder=folder)
        delete(filesystem, f"{folder}/probe")
    except Exception as error:  # botocore's errors are no OSErrors
        raise storage_error(error, url) from error


def require_local_folder(folder: Path) -> None:
    """Refuse a folder on this machine that is not there and cannot be made, before hours are spent on what goes there.

    Raises:
        StrideformerError: it or what is above it is a file, or may not be written to.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise StrideformerError(f"{folder} is a file, or lies below one: choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StrideformerError(f"{folder}: {there} may not be written to: check its permissions")


def _any(words: str, signs: tuple[str, ...]) -> bool:
    return any(sign.lower() in words.lower() for sign in signs)
