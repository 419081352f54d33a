"""How many tokens one micro-batch should have: a short search, since it depends on the device and on the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from strideformer.micro_batches import is_out_of_memory

# From where launching costs more than computing on any GPU, to where activations leave every cache.
BUDGETS = (4_096, 8_192, 16_384, 32_768, 65_536)
# A larger budget takes more memory, and one that is ahead by less than this may be so by chance.
LEAST_GAIN = 1.02
# One call is too short to be timed by itself on a fast device.
SECONDS_A_BUDGET = 0.15
SECONDS_IN_ALL = 2.0


def fastest_budget(
    tokens_per_second: Callable[[int], float],
    budgets: Sequence[int] = BUDGETS,
    seconds_a_budget: float = SECONDS_A_BUDGET,
    seconds_in_all: float = SECONDS_IN_ALL,
    clock: Callable[[], float] = time.perf_counter,
) -> int | None:
    """The budget with which tokens go through fastest.

    Each is run once to warm up, then timed by its fastest run. A device that runs out of memory is asked for no more,
    and one so slow that its time is up keeps what it has found.

    Args:
        tokens_per_second: runs one micro-batch of at most so many tokens, waits for it, and says how fast it went.
        budgets: from small to large.
        seconds_a_budget: for how long each is run again.
        seconds_in_all: after which no further budget is tried.
        clock: seconds that pass.

    Returns:
        One of the budgets; None if the smallest is too large.
    """
    started = clock()
    best: int | None = None
    best_rate = 0.0
    for budget in budgets:
        try:
            tokens_per_second(budget)
            begun = clock()
            rate = tokens_per_second(budget)
            while clock() - begun < seconds_a_budget:
                rate = max(rate, tokens_per_second(budget))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if rate > best_rate * LEAST_GAIN:
            best, best_rate = budget, rate
        if clock() - started > seconds_in_all:
            break
    return best
