"""How the contenders' processes tell when they worked and on what: a line for each call of an encoder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Processes inherit the environment, and so the folder.
FOLDER_VARIABLE = "STRIDEFORMER_BENCHMARK_MARKS"


@contextmanager
def encoding(**amounts: float) -> Iterator[None]:
    """Note when the work inside began and ended, and the amounts of it: chunks, tokens, bytes that came in."""
    began = time.time()
    yield
    note(began=began, ended=time.time(), **amounts)


def note(**values: Any) -> None:
    file = Path(os.environ[FOLDER_VARIABLE]) / f"{os.getpid()}.jsonl"
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(values) + "\n")


def read_marks(folder: Path) -> list[dict[str, Any]]:
    """All lines of all processes."""
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
