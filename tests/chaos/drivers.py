"""Drivers of the classify job, forked from a process that has imported everything: each starts in a moment.

A fork is a process of its own, with the command's own entry point, signals and exit code. The process that forks
starts no threads and no Ray.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from jobs import classify, cli, flow
from tests.chaos.processes import end_with_parent, kill
from tests.chaos.stand_in import SlowChunk, SlowEncodeAndAggregate

LONGEST_SECONDS = 400.0


class Driver:
    """``strideformer classify …`` in a process of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.started = time.monotonic()
        self.code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _run(arguments, environment, log)

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = LONGEST_SECONDS) -> int:
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                kill([self.pid])
                raise TimeoutError(f"a driver ran for more than {seconds:.0f} s: {self.log}")
            time.sleep(0.05)
        assert self.code is not None
        return self.code

    def send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def said(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """In the forked process; does not return, so that nothing of the one that forked it is unwound here."""
    code = 70
    try:
        end_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.environ.update(environment)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        classify.EncodeAndAggregate = SlowEncodeAndAggregate
        flow.Chunk = SlowChunk
        code = cli.main(["classify", *arguments])
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
