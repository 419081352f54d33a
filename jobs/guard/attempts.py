"""How often a shard was begun and not ended: what a process cannot remember that was killed."""

from __future__ import annotations

from collections import Counter
from typing import Any

# Two attempts may end by bad luck: a node that goes, memory that another process took.
HASTY_ATTEMPTS = 2
# A stage that cannot even start this often in a row never will.
START_ATTEMPTS = 5
# By then neither the documents nor bad luck explain it.
MOST_ATTEMPTS = 10


class Attempts:
    """Counts attempts at each stage of each shard. One Ray actor a job; it lives beside the driver."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, int]] = Counter()
        self._starts: Counter[str] = Counter()

    def begin(self, stage: str, shard: int) -> int:
        """Note an attempt; its number, from 1 on."""
        self._begun[stage, shard] += 1
        return self._begun[stage, shard]

    def end(self, stage: str, shard: int) -> None:
        """Note that an attempt came to its end, well or with an exception."""
        self._begun.pop((stage, shard), None)

    def starting(self, stage: str) -> int:
        """Note that a process is about to build a stage; how many have tried since the last that could."""
        self._starts[stage] += 1
        return self._starts[stage]

    def ready(self, stage: str) -> None:
        """Note that a process has built a stage."""
        self._starts[stage] = 0


def start_attempts() -> Any:
    """The actor, on the driver's node, where it outlives most workers.

    If it dies nonetheless, it starts again from nothing, and calls on it wait for that: a document that kills is then
    found a few attempts later.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    forever = {"max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Attempts).options(num_cpus=0, scheduling_strategy=here, **forever).remote()
