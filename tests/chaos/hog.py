"""A stranger on the cluster that fills its object store, and the disk behind it, and keeps them full."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.processes import end_with_parent, kill

PIECE_BYTES = 8 << 20
STAGE = 0.7  # share of the disk that is filled by objects before the job starts
ROOT = Path(__file__).parents[2]


class Hog:
    """Fills the object store and most of the disk at once, and the rest of the disk when it is told to."""

    def __init__(self, address: str, disk: Path, log: Path) -> None:
        self.disk = disk
        command = [sys.executable, "-m", "tests.chaos.hog", address, str(disk)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT)
        deadline = time.monotonic() + 120
        while "holding" not in log.read_text(errors="replace"):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the object store was not filled: {log}")
            time.sleep(0.1)

    def fill_the_disk(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"now\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        if self.process.poll() is None:
            kill([self.process.pid])
            self.process.wait()
        (self.disk / "filler").unlink(missing_ok=True)


def main(address: str, disk: str) -> None:
    """Hold objects; then let a file take what is left, as a log would, and try to hold more."""
    import numpy as np
    import ray

    ray.init(address=address, logging_level="ERROR")
    kept = []
    while shutil.disk_usage(disk).used < STAGE * shutil.disk_usage(disk).total:
        kept.append(ray.put(np.ones(PIECE_BYTES, np.uint8)))
    print("holding", len(kept), flush=True)
    sys.stdin.readline()
    with contextlib.suppress(OSError), (Path(disk) / "filler").open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    while True:
        try:
            kept.append(ray.put(np.ones(PIECE_BYTES, np.uint8)))
        except ray.exceptions.RayError:
            time.sleep(1)


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1], sys.argv[2])
