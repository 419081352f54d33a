"""Local folders with symbolic links in them: followed within the given root, refused where they lead out of it.

pyarrow's own listing follows every link, out of the root too, and a link to a folder above it forty times over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from strideformer.errors import StrideformerError


def walk(folder: str, root: str, hidden: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder once, by whichever of its names comes first: real ones before those by links.

    Args:
        folder: where to begin.
        root: what the user gave, and what no link may lead out of.
        hidden: beginnings of names that are passed over.

    Raises:
        StrideformerError: a link leads out of the root, or to nothing.
    """
    waiting = [folder]
    linked: list[os.DirEntry[str]] = []
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        if not waiting:
            entry = linked.pop(0)
            refuse_escape(entry.path, root)
            if not entry.is_dir():
                if _identity(entry) not in seen:
                    seen.add(_identity(entry))
                    yield entry
                continue
            waiting.append(entry.path)
        here = waiting.pop()
        found = Path(here).stat()
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(hidden):
                    continue
                if entry.is_symlink():
                    linked.append(entry)
                elif entry.is_dir():
                    waiting.append(entry.path)
                elif entry.is_file():
                    seen.add((entry.stat().st_dev, entry.stat().st_ino))
                    yield entry


def refuse_escape(path: str, root: str) -> None:
    """Refuse a link that leads out of the root.

    Raises:
        StrideformerError: it does, or it leads to nothing.
    """
    target = os.path.realpath(path)
    if not Path(target).exists():
        raise StrideformerError(f"{path} is a link to {target}, which does not exist: remove it, or bring that back")
    if not Path(target).is_relative_to(os.path.realpath(root)):
        raise StrideformerError(
            f"{path} is a link that leads out of {root}: name {target} as an input of its own, or remove the link"
        )


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    found = entry.stat()
    return found.st_dev, found.st_ino
