"""A stranger on the cluster that fills its object store, and the disk behind it, and keeps them full."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.processes import end_with_parent, kill

PIECE_BYTES = 8 << 20
ROOT = Path(__file__).parents[2]


class Hog:
    def __init__(self, address: str, disk: Path, log: Path) -> None:
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.hog", address, str(disk)], stdout=output, stderr=output, cwd=ROOT
            )

    def stop(self) -> None:
        if self.process.poll() is None:
            kill([self.process.pid])
            self.process.wait()


def main(address: str, disk: str) -> None:
    """Put objects until nothing more goes in; what is not filled by them is filled by a file, as a log would."""
    import numpy as np
    import ray

    ray.init(address=address, logging_level="ERROR")
    kept = []
    try:
        while shutil.disk_usage(disk).used < 0.7 * shutil.disk_usage(disk).total:
            kept.append(ray.put(np.ones(PIECE_BYTES, np.uint8)))
    except ray.exceptions.RayError as error:
        print("full:", type(error).__name__, flush=True)
    with (Path(disk) / "filler").open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            print("filled", len(kept), flush=True)
    try:
        while True:
            kept.append(ray.put(np.ones(PIECE_BYTES, np.uint8)))
    except ray.exceptions.RayError as error:
        print("full:", type(error).__name__, len(kept), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1], sys.argv[2])
