"""The files behind the inputs that a person names: files, folders and globs on any filesystem."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pyarrow.fs

from jobs.corpus.entries import Entry, iso_time, list_folder, look
from jobs.corpus.filesystems import scheme_of
from jobs.corpus.links import refuse_escape, walk
from jobs.corpus.retries import PREFLIGHT_PATIENCE_SECONDS, with_retries
from jobs.corpus.storage import is_utf8, resolve, url_of
from jobs.corpus.storage_errors import require_bucket, storage_error
from strideformer.errors import StrideformerError

FORMATS = ("parquet", "jsonl", "csv", "tsv", "text")
_EXTENSIONS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_MAGIC = re.compile(r"[*?\[]")
HIDDEN = ("_", ".")


@dataclass(frozen=True)
class InputFile:
    """One file of the input, as it was when it was listed."""

    source: str  # URL, or absolute path of a local file
    size: int  # bytes, as stored
    modified: str  # ISO 8601 in UTC with nanoseconds; "" where the storage does not tell
    format: str  # one of FORMATS
    compression: str  # gzip, zstd, bz2 or none
    etag: str = ""  # of the object that the plan looked into; "" where there is none


def list_inputs(inputs: Sequence[str], options: Mapping[str, str], file_format: str | None = None) -> list[InputFile]:
    """Every file behind the inputs once, sorted by source.

    Args:
        inputs: Files, folders (with everything below them, but for names that begin with ``_`` or ``.``),
            and globs (``*``, ``?``, ``[..]`` within a name, ``**`` for folders at any depth; wildcards do not
            match such names either).
        options: Storage options.
        file_format: One of :data:`FORMATS` for every file; None or ``auto`` goes by each file's extension.

    Raises:
        StrideformerError: a path that is missing or holds no file, an extension that says nothing, a name that is not
            UTF-8, a storage that refuses.
    """
    forced = None if file_format in (None, "auto") else file_format
    if forced is not None and forced not in FORMATS:
        raise StrideformerError(f"format {forced!r} is not known: use one of {', '.join(FORMATS)}")
    found: dict[str, InputFile] = {}
    unknown: list[str] = []
    for url in inputs:
        filesystem, path = resolve(url, options)
        try:
            entries = with_retries(partial(_entries, filesystem, path, url), url, PREFLIGHT_PATIENCE_SECONDS)
        except Exception as error:  # botocore's and aiohttp's errors are no OSErrors
            raise storage_error(error, url) from error
        if not entries:
            _refuse_nothing(filesystem, path, url)
        for entry in entries:
            source = url_of(filesystem, entry.path, url)
            if not is_utf8(source):
                raise StrideformerError(f"the name of the file {source!a} is not UTF-8: rename it, or leave it out")
            kind, compression = _format_of(entry.path, forced)
            if kind is None:
                unknown.append(source)
            else:
                found[source] = InputFile(source, entry.size, entry.modified, kind, compression)
    if unknown:
        names = ", ".join(sorted(set(unknown))[:5]) + (", …" if len(set(unknown)) > 5 else "")
        raise StrideformerError(
            f"the format of {names} cannot be told from the name: give it with --format"
            f" ({', '.join(FORMATS)}), or name only the files to read"
        )
    return sorted(found.values(), key=lambda file: file.source)


def would_find(url: str, options: Mapping[str, str], path: str) -> bool:
    """Whether an input takes in a file that is to be written.

    Args:
        url: The input, as it is named.
        options: Storage options.
        path: The file's, on the same kind of filesystem, as :func:`jobs.corpus.storage.resolve` gives it.
    """
    folder = resolve(url, options)[1]
    patterns: list[str] = []
    if _MAGIC.search(folder) and scheme_of(url) not in ("http", "https"):
        folder, patterns = _split_glob(folder)
    if scheme_of(url) == "file":
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    folder = folder.rstrip("/") + "/"
    if not path.startswith(folder):
        return False
    names = path.removeprefix(folder).split("/")
    # what a pattern matches may be a folder, of which all is taken but hidden names
    return any(
        _matches_names(names[:matched], patterns) and not any(name.startswith(HIDDEN) for name in names[matched:])
        for matched in range(len(names) + 1)
    )


def _refuse_nothing(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> None:
    require_bucket(filesystem, path, url)
    if _MAGIC.search(path):
        raise StrideformerError(f"no file matches {url}: check the pattern")
    raise StrideformerError(f"{url} holds no files (names beginning with _ or . do not count): check the path")


def _format_of(path: str, forced: str | None) -> tuple[str | None, str]:
    stem, extension = posixpath.splitext(posixpath.basename(path).lower())
    compression = _COMPRESSIONS.get(extension, "none")
    if forced is not None:
        return forced, "none" if forced == "parquet" else compression
    kind = _EXTENSIONS.get(posixpath.splitext(stem)[1] if compression != "none" else extension)
    if kind == "parquet" and compression != "none":
        return None, compression
    return kind, compression


def _entries(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> list[Entry]:
    return list(_files_of(filesystem, path, url))


def _files_of(filesystem: pyarrow.fs.FileSystem, path: str, url: str) -> Iterator[Entry]:
    _refuse_climbing(url)
    entry = look(filesystem, path)
    if entry is not None:
        yield from _expand(filesystem, entry, entry.path)
    elif _MAGIC.search(path) and scheme_of(url) not in ("http", "https"):
        fixed, patterns = _split_glob(path)
        for matched in _match(filesystem, fixed, patterns, fixed):
            yield from _expand(filesystem, matched, fixed)
    else:
        require_bucket(filesystem, path, url)
        raise StrideformerError(f"{url} does not exist: check the path")


def _refuse_climbing(url: str) -> None:
    """``a/*/../..`` would read what lies above ``a``, where nobody expects it."""
    names = unquote(url).split("/")
    first = next((i for i, name in enumerate(names) if _MAGIC.search(name)), len(names))
    if ".." in names[first:]:
        raise StrideformerError(f"{url} has .. after a wildcard: write the folder that is meant without it")


def _expand(filesystem: pyarrow.fs.FileSystem, entry: Entry, root: str) -> Iterator[Entry]:
    """The files below a folder, hidden names left out; a file is itself."""
    if entry.is_folder:
        yield from _files_below(filesystem, entry.path, root)
    else:
        yield entry


def _files_below(
    filesystem: pyarrow.fs.FileSystem, folder: str, root: str, hidden: tuple[str, ...] = HIDDEN
) -> Iterator[Entry]:
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        if not Path(folder).is_dir():
            return  # the folder before a wildcard
        for found in walk(folder, root, hidden):
            stat = found.stat()
            yield Entry(found.path, stat.st_size, iso_time(stat.st_mtime_ns), False)
        return
    for below in list_folder(filesystem, folder, recursive=True):
        names = below.path[len(folder) :].strip("/").split("/")
        if not below.is_folder and not any(name.startswith(hidden) for name in names):
            yield below


def _split_glob(path: str) -> tuple[str, list[str]]:
    """The folder before the first name with a wildcard, and the names from there on."""
    names = path.split("/")
    first = next(i for i, name in enumerate(names) if _MAGIC.search(name))
    return "/".join(names[:first]) or ("/" if path.startswith("/") else ""), names[first:]


def _match(filesystem: pyarrow.fs.FileSystem, folder: str, patterns: list[str], root: str) -> Iterator[Entry]:
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**":
        yield from _match_deep(filesystem, folder, rest, root)
        return
    if not _MAGIC.search(pattern):
        entry = look(filesystem, posixpath.join(folder, pattern))
        matching: Iterable[Entry] = [] if entry is None else [entry]
    else:
        matching = (e for e in list_folder(filesystem, folder, recursive=False) if _matches(_name(e), pattern))
    for entry in matching:
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem) and Path(entry.path).is_symlink():
            refuse_escape(entry.path, root)
        if not rest:
            yield entry
        elif entry.is_folder:
            yield from _match(filesystem, entry.path, rest, root)


def _match_deep(filesystem: pyarrow.fs.FileSystem, folder: str, rest: list[str], root: str) -> Iterator[Entry]:
    """``**``: any number of folders, also none, then ``rest``; with no rest, every file below."""
    # a pattern that begins with _ or . may match such names, and _matches_names passes over the others
    hidden = () if any(pattern.startswith(HIDDEN) for pattern in rest) else HIDDEN
    for entry in _files_below(filesystem, folder, root, hidden):
        names = entry.path[len(folder) :].strip("/").split("/")
        if _matches_names(names, ["**", *(rest or ["*"])]):
            yield entry


def _matches_names(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        visible = 0
        while visible < len(names) and not names[visible].startswith(HIDDEN):
            visible += 1
        return any(_matches_names(names[skip:], patterns[1:]) for skip in range(visible + 1))
    return bool(names) and _matches(names[0], patterns[0]) and _matches_names(names[1:], patterns[1:])


def _matches(name: str, pattern: str) -> bool:
    if name.startswith(HIDDEN) and not pattern.startswith(name[0]):
        return False
    return fnmatch.fnmatchcase(name, pattern)


def _name(entry: Entry) -> str:
    return posixpath.basename(entry.path.rstrip("/"))
