"""Freed memory is kept, as far as the C library can be told so. Each in a process of its own, which it changes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from strideformer.freed_memory import OF_USER

of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

# Page faults of making and freeing a block of 80 MB on the main thread, and eight of 5 MB on another. glibc by itself
# has learnt from the small ones that they are kept, and 10 MB at the end of a heap.
MEASURED = """
import resource, threading
from strideformer.freed_memory import keep_freed_blocks, keep_freed_memory

def faults(number, size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [bytearray(size) for _ in range(number)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def both():
    found = [faults(1, 80_000_000)]
    thread = threading.Thread(target=lambda: found.append(faults(8, 5_000_000)))
    thread.start()
    thread.join()
    return found

both()
before = both()
done = KEEP()
both()
print(done, *before, *both())
"""


def run(function: str = "keep_freed_memory", **environment: str) -> tuple[bool, list[int]]:
    clean = {name: value for name, value in os.environ.items() if name not in OF_USER}
    command = [sys.executable, "-c", MEASURED.replace("KEEP", function)]
    said = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout.split()
    return said[0] == "True", [int(number) for number in said[1:]]


@of_glibc
def test_pages_are_not_taken_again() -> None:
    done, (before, on_a_thread_before, after, on_a_thread) = run()
    assert done
    assert after < before / 10
    assert on_a_thread < on_a_thread_before / 10


@of_glibc
def test_blocks_of_an_encoder_stay_in_their_heaps() -> None:
    _, (_, before, _, after) = run("keep_freed_blocks")
    assert after < before / 10


def test_a_user_who_tuned_the_c_library_is_left_alone() -> None:
    done, (before, _, after, _) = run(MALLOC_TOP_PAD_="131072")
    assert not done
    assert after > before / 2
