"""How much memory is free, and how much a process takes; as Linux tells it, and elsewhere not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """What can still be taken on this machine, or in this container if that is less; None if nobody tells."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, StopIteration, ValueError):  # "max" is no number: there is no limit
        limit = int((_CONTAINER / "memory.max").read_text(encoding="utf-8"))
        taken = int((_CONTAINER / "memory.current").read_text(encoding="utf-8"))
        lines = (_CONTAINER / "memory.stat").read_text(encoding="utf-8").splitlines()
        cached = int(next(line for line in lines if line.startswith("inactive_file ")).split()[1])
        found.append(max(0, limit - taken + cached))
    return min(found, default=None)


def used_bytes(pid: int) -> int:
    """What a process has in memory; 0 if it is gone or nobody tells."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
