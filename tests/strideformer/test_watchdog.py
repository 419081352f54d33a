from __future__ import annotations

import subprocess
import sys
import time

import strideformer.watchdog
from strideformer.watchdog import progressed, watchdog

PROGRAM = """
import sys, time
from strideformer import watchdog
watchdog._REARM_SECONDS = 0.01
with watchdog.watchdog(1.0):
    for _ in range(int(sys.argv[1])):
        time.sleep(0.2)
        watchdog.progressed()
    time.sleep(float(sys.argv[2]))
time.sleep(1.2)
print("done")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60)


def test_progress_keeps_a_process_alive_and_the_watch_ends_with_its_block() -> None:
    finished = run("8", "0")
    assert (finished.returncode, finished.stdout) == (0, "done\n")


def test_a_process_that_hangs_is_ended_and_says_where() -> None:
    finished = run("1", "30")
    assert finished.returncode == 1
    assert "Timeout" in finished.stderr
    assert "<string>" in finished.stderr


def test_no_limit_no_watch() -> None:
    with watchdog(None):
        progressed()
        time.sleep(0)
    assert strideformer.watchdog._limit is None
