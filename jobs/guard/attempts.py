"""How often a shard was begun and not ended: what a process cannot remember that was killed."""

from __future__ import annotations

from collections import Counter
from typing import Any

# Two attempts may end by bad luck: a node that goes, memory that another process took.
HASTY_ATTEMPTS = 2
# An actor that cannot even start this often in a row never will.
START_ATTEMPTS = 5
# By then neither the documents nor bad luck explain it.
MOST_ATTEMPTS = 10


class Attempts:
    """Counts attempts at each stage of each shard. One Ray actor a job; it lives beside the driver."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, int]] = Counter()
        self._starts: Counter[tuple[str, str]] = Counter()

    def begin(self, stage: str, shard: int) -> int:
        """Note an attempt; its number, from 1 on."""
        self._begun[stage, shard] += 1
        return self._begun[stage, shard]

    def end(self, stage: str, shard: int) -> None:
        """Note that an attempt came to its end, well or with an exception."""
        self._begun.pop((stage, shard), None)

    def starting(self, stage: str, actor: str) -> int:
        """Note that an actor is about to build a stage; how often it has tried in a row.

        Of each actor by itself, whose id Ray keeps when it starts its process again: many start at the same time, and
        the last may be about to before the first has loaded its model.
        """
        self._starts[stage, actor] += 1
        return self._starts[stage, actor]

    def ready(self, stage: str, actor: str) -> None:
        """Note that an actor has built a stage."""
        self._starts.pop((stage, actor), None)


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
