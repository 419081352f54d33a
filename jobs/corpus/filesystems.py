"""Which filesystem serves a URL: pyarrow's native ones where they can, fsspec's everywhere else.

Credentials never come in by an option or a URL: the tools' own variables and profiles are read, in the driver
and again in every worker, so that nothing secret lies in a command line, a plan, or a pickled object.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import pyarrow.fs

from strideformer.errors import StrideformerError

# Of one request, unseen; what lasts longer than these quick ones is for jobs.corpus.retries, which tells the log.
S3_ATTEMPTS = 3
CONNECT_SECONDS = 5.0
# Without a byte moving: a stalled connection is given up, and its request made again.
REQUEST_SECONDS = 20.0

S3_SCHEMES = {"s3", "s3a", "s3n"}
GS_SCHEMES = {"gs", "gcs"}
_AZURE_SCHEMES = {"abfs", "abfss"}
_ENVIRONMENT_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_", "HF_")

# option names of s3fs, pyarrow and the AWS tools → pyarrow's own
_S3_NATIVE = {
    "endpoint_url": "endpoint_override",
    "endpoint_override": "endpoint_override",
    "region": "region",
    "region_name": "region",
    "anon": "anonymous",
    "anonymous": "anonymous",
    "scheme": "scheme",
    "connect_timeout": "connect_timeout",
    "request_timeout": "request_timeout",
    "max_attempts": "max_attempts",
    "role_arn": "role_arn",
    "force_virtual_addressing": "force_virtual_addressing",
    "tls_ca_file_path": "tls_ca_file_path",
}
_GS_NATIVE = {
    "endpoint_override": "endpoint_override",
    "anon": "anonymous",
    "anonymous": "anonymous",
    "scheme": "scheme",
    "project_id": "project_id",
}
_AZURE_NATIVE = {"account_name": "account_name"}

_ONE_NAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs"}

Value = str | int | float | bool


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case; ``file`` for a path without one."""
    head, separator, _ = url.partition("://")
    return head.lower() if separator else "file"


def storage_of(url: str) -> str:
    """The kind of storage behind a URL, by one name: URLs of the same kind and path are the same place.

    Azure's has its account with it, which pyarrow's paths leave out.
    """
    scheme = scheme_of(url)
    account = urlsplit(url, allow_fragments=False).netloc.partition("@")[2] if scheme in _AZURE_SCHEMES else ""
    return _ONE_NAME.get(scheme, scheme) + account


def local_path(url: str) -> str:
    """The absolute path behind ``/a/b``, ``a/b``, ``~/b`` or ``file:///a/b``."""
    if scheme_of(url) == "file" and "://" in url:
        parts = urlsplit(url, allow_fragments=False)
        if parts.netloc not in ("", "localhost"):
            raise StrideformerError(f"{url} names the host {parts.netloc!r}: write file:///path, or just the path.")
        # urlsplit takes a "?" for a query; in a path it is a wildcard or a plain letter
        path = unquote(url.partition("://")[2].removeprefix(parts.netloc))
    else:
        path = url
    # not by pathlib, which takes ten times as long: a corpus may be of 100,000 files
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111


def open_filesystem(url: str, options: Mapping[str, str]) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a URL and the URL's path on it. ``options`` were checked for secrets before."""
    scheme = scheme_of(url)
    chosen = dict(options)
    backend = chosen.pop("backend", "")
    if backend not in ("", "native", "fsspec", "s3fs"):
        raise StrideformerError(f"--storage-option backend={backend} is not known: use native, fsspec or s3fs.")
    if scheme == "file":
        return pyarrow.fs.LocalFileSystem(), local_path(url)

    native_names: dict[str, str] = {}
    if scheme in S3_SCHEMES:
        native_names = _S3_NATIVE
    elif scheme in GS_SCHEMES:
        native_names = _GS_NATIVE
    elif scheme in _AZURE_SCHEMES and _azure_account(url, chosen):
        native_names = _AZURE_NATIVE
    foreign = sorted(set(chosen) - set(native_names))
    if backend == "native" and (foreign or not native_names):
        what = f"the option {foreign[0]}" if foreign and native_names else f"{scheme}://"
        raise StrideformerError(
            f"pyarrow's native filesystem has nothing for {what}: leave out --storage-option backend=native."
        )
    native = bool(native_names) and not foreign and backend in ("", "native")
    authority = urlsplit(url, allow_fragments=False).netloc
    where = authority if native else url if "::" in url else f"{scheme}://{authority}"
    filesystem = _cached_filesystem(scheme, where, native, tuple(sorted(chosen.items())), _environment_digest())
    if not native:
        return filesystem, str(filesystem.handler.fs._strip_protocol(url))
    rest = url.partition("://")[2]
    if scheme in _AZURE_SCHEMES and "@" in authority:
        rest = authority.partition("@")[0] + rest[len(authority) :]
    return filesystem, rest.rstrip("/")


def _environment_digest() -> str:
    """Tells one set of credentials from another without keeping them: a change must make a new filesystem."""
    relevant = sorted((k, v) for k, v in os.environ.items() if k.startswith(_ENVIRONMENT_PREFIXES))
    return hashlib.sha256(repr((os.getpid(), relevant)).encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _cached_filesystem(
    scheme: str, where: str, native: bool, options: tuple[tuple[str, str], ...], environment: str
) -> pyarrow.fs.FileSystem:
    """One filesystem a process for each place and set of credentials: it holds the pool of connections.

    ``where`` is the authority (bucket) for native filesystems and a URL for the others.
    """
    typed = {name: _typed(value) for name, value in options}
    try:
        if not native:
            return _through_fsspec(scheme, where, typed)
        if scheme in S3_SCHEMES:
            return _native_s3(where, typed)
        if scheme in GS_SCHEMES:
            arguments = {_GS_NATIVE[name]: value for name, value in typed.items()}
            return pyarrow.fs.GcsFileSystem(retry_time_limit=timedelta(seconds=REQUEST_SECONDS), **arguments)
        return _native_azure(where, typed)
    except (TypeError, ValueError, ImportError, OSError) as error:
        raise StrideformerError(f"{scheme}:// cannot be opened: {error}") from error


def _typed(value: str) -> Value:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return value


def _s3_endpoint(options: Mapping[str, Value]) -> str:
    """Passed on by hand: the AWS SDK reads its variables once a process, and misses what was set later."""
    for name in ("endpoint_url", "endpoint_override"):
        if name in options:
            return str(options[name])
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _native_s3(bucket: str, options: Mapping[str, Value]) -> pyarrow.fs.FileSystem:
    arguments = {_S3_NATIVE[name]: value for name, value in options.items()}
    attempts = int(arguments.pop("max_attempts", S3_ATTEMPTS))
    endpoint = _s3_endpoint(options)
    if endpoint:
        scheme, separator, host = endpoint.partition("://")
        arguments["endpoint_override"] = (host if separator else endpoint).rstrip("/")
        arguments.setdefault("scheme", scheme if separator else "https")
    region = arguments.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        try:
            region = pyarrow.fs.resolve_s3_region(bucket)
        except OSError:
            region = None  # the first call on the bucket tells what is wrong with it
    if region:
        arguments["region"] = region
    arguments.setdefault("connect_timeout", CONNECT_SECONDS)
    arguments.setdefault("request_timeout", REQUEST_SECONDS)
    return pyarrow.fs.S3FileSystem(
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        # an object of less than one part is then sent by one PUT at the close, not as a multipart upload
        allow_delayed_open=True,
        # with writes in the background a part that failed fails the close too; without, the close would
        # publish the other parts
        background_writes=True,
        **arguments,
    )


def _azure_account(url: str, options: Mapping[str, str]) -> str:
    host = urlsplit(url, allow_fragments=False).netloc.partition("@")[2]
    return host.partition(".")[0] or options.get("account_name", "") or os.environ.get("AZURE_STORAGE_ACCOUNT", "")


def _native_azure(authority: str, options: Mapping[str, Value]) -> pyarrow.fs.FileSystem:
    account = _azure_account(f"abfs://{authority}", {name: str(value) for name, value in options.items()})
    key = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    return pyarrow.fs.AzureFileSystem(account_name=account, account_key=key)


def _through_fsspec(scheme: str, url: str, options: Mapping[str, Value]) -> pyarrow.fs.FileSystem:
    import fsspec

    arguments: dict[str, object] = dict(options)
    if scheme in S3_SCHEMES:
        arguments = _s3fs_arguments(options)
    try:
        filesystem, _ = fsspec.core.url_to_fs(url, **arguments)
    except ImportError as error:
        raise StrideformerError(f"{url} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise StrideformerError(f"{url} cannot be opened: {error}") from error
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))


def _s3fs_arguments(options: Mapping[str, Value]) -> dict[str, object]:
    """s3fs has its own names, and multiplies its own retries by botocore's: botocore's are switched off."""
    rest = dict(options)
    endpoint = _s3_endpoint(options)
    region = rest.pop("region", None) or rest.pop("region_name", None)
    configuration = {
        "connect_timeout": rest.pop("connect_timeout", CONNECT_SECONDS),
        "read_timeout": rest.pop("request_timeout", REQUEST_SECONDS),
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    for name in ("endpoint_url", "endpoint_override", "max_attempts"):
        rest.pop(name, None)
    scheme = rest.pop("scheme", None)
    if endpoint and "://" not in endpoint:
        endpoint = f"{scheme or 'https'}://{endpoint}"
    if "anonymous" in rest:
        rest["anon"] = rest.pop("anonymous")
    arguments: dict[str, object] = {**rest, "config_kwargs": configuration}
    if endpoint:
        arguments["endpoint_url"] = endpoint
    if region:
        arguments["client_kwargs"] = {"region_name": region}
    # a listing kept in memory would hide what other workers have written since, and an instance kept by
    # fsspec would go on with the credentials of an earlier environment
    arguments |= {"use_listings_cache": False, "skip_instance_cache": True}
    return arguments
