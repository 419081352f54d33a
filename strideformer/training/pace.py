"""How far a long stretch of work is, told now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 10.0


class Pace:
    """Tells on stderr how far a stretch of work is and how long the rest will take; of a short one it says nothing.

    Args:
        did: what is done to each, such as ``embedded``.
        of: how many there are.
        what: they are called.
        before: how many were done by an earlier run.
        quiet: say nothing, as all processes but one should.
        clock: seconds that pass.
    """

    def __init__(
        self,
        did: str,
        of: int,
        what: str,
        before: int = 0,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.did, self.of, self.what, self.before, self.quiet = did, of, what, before, quiet
        self.clock = clock
        self.started = self.told = clock()

    def at(self, done: int) -> None:
        """So many are done, those of an earlier run among them."""
        now = self.clock()
        if self.quiet or done >= self.of or done <= self.before or now - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told = now
        left = (self.of - done) * (now - self.started) / (done - self.before)
        about = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
        print(f"{self.did} {done:,} of {self.of:,} {self.what}, about {about} left", file=sys.stderr, flush=True)
