"""Stages that die or hang over a document, as a fault in native code would make them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.stages.chunk import Chunk
from jobs.stages.columns import with_columns

EXIT, SEGFAULT, HANG, RAISE = "poisonexit", "poisonsegfault", "poisonhang", "poisonraise"
GREED = "poisongreed"


def suffer(texts: list[str | None]) -> None:
    """Do what the texts ask for."""
    for text in texts:
        if text is None:
            continue
        if EXIT in text:
            os._exit(7)
        if SEGFAULT in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if HANG in text:
            time.sleep(1000)
        if GREED in text:
            taken = [bytes(range(256)) * 4096 for _ in range(2048)]  # 2 GiB, 1 MiB at a time
            del taken
        if RAISE in text:
            raise ValueError("raised over a document caf\udce9")  # as of a file whose name is not UTF-8


class Fragile:
    """Adds the length of each text; documents already quarantined have none.

    Args:
        column: that is added.
        dies_without: a file without which it dies while it is built, once.
    """

    def __init__(self, column: str = "length", dies_without: str | None = None) -> None:
        self.column = column
        if dies_without is not None and not Path(dies_without).exists():
            Path(dies_without).touch()
            os._exit(7)

    def __call__(self, documents: pa.Table) -> pa.Table:
        suffer(documents.column("_text").to_pylist())
        return with_columns(documents, {self.column: pc.utf8_length(documents.column("_text"))})


class SlowToBuild:
    """Takes longer to build than anyone waits."""

    def __init__(self) -> None:
        time.sleep(1000)


class Unbuildable:
    """Dies while it is built."""

    def __init__(self) -> None:
        os._exit(3)


class FragileChunk(Chunk):
    """The chunk stage with a tokenizer that some documents kill."""

    def __call__(self, documents: pa.Table) -> pa.Table:
        suffer(documents.column("_text").to_pylist())
        return super().__call__(documents)
