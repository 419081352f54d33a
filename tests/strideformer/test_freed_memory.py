"""Freed memory is kept, as far as the C library can be told so. Each in a process of its own, which it changes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from strideformer.freed_memory import OF_USER

# Page faults of making and freeing blocks, on the main thread and on another, whose heaps end at 64 MB.
MEASURED = """
import resource, threading
from strideformer.freed_memory import keep_freed_memory

def faults(*sizes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        for size in sizes:
            bytearray(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def both():
    found = [faults(80_000_000, 20_000_000)]
    thread = threading.Thread(target=lambda: found.append(faults(20_000_000, 30_000_000)))
    thread.start()
    thread.join()
    return found

before = both()
done = keep_freed_memory()
both()
print(done, *before, *both())
"""


def run(**environment: str) -> tuple[bool, list[int]]:
    clean = {name: value for name, value in os.environ.items() if name not in OF_USER}
    command = [sys.executable, "-c", MEASURED]
    said = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout.split()
    return said[0] == "True", [int(number) for number in said[1:]]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_not_taken_again() -> None:
    done, (before, on_a_thread_before, after, on_a_thread) = run()
    assert done
    assert min(before, on_a_thread_before) > 100
    assert after < before / 10
    assert on_a_thread < on_a_thread_before / 2


def test_a_user_who_tuned_the_c_library_is_left_alone() -> None:
    done, (before, _, after, _) = run(MALLOC_TOP_PAD_="131072")
    assert not done
    assert after > before / 2
