"""``make fuzz MINUTES=5``: rounds of the properties, each with a seed of its own, until the time is up."""

from __future__ import annotations

import argparse
import faulthandler
import time

from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.properties import PROPERTIES

EXAMPLES_A_ROUND = 300
SECONDS_THAT_ARE_A_HANG = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; printed before each")
    arguments = parser.parse_args()
    faulthandler.enable()
    end = time.monotonic() + 60 * arguments.minutes
    rounds, number = 0, arguments.seed
    while time.monotonic() < end:
        for strategy, check in PROPERTIES:
            print(f"round {number}: {check.__name__}", flush=True)
            faulthandler.dump_traceback_later(SECONDS_THAT_ARE_A_HANG, exit=True)
            limits = settings(
                max_examples=EXAMPLES_A_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            seed(number)(limits(given(strategy)(check)))()
            faulthandler.cancel_dump_traceback_later()
        rounds, number = rounds + 1, number + 1
    print(f"{rounds} rounds of {EXAMPLES_A_ROUND} examples of {len(PROPERTIES)} properties held")


if __name__ == "__main__":
    main()
