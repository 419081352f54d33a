"""How a job shares out the cluster: encoder actors, their CPUs and GPUs, and what is left for the other stages."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.loopback import start_on_loopback
from strideformer.errors import StrideformerError

# One encoder actor a node of up to this many cores: beyond that torch's threads stop scaling on one micro-batch.
CORES_PER_CPU_ENCODER = 16
# A node with less than this part of the largest one's CPUs, such as a head that only schedules, gets no encoder: all
# encoders are alike, and would be cut to fit it.
SMALL_NODE = 4
# Text of a shard. 32 MiB of English keep a GPU busy for about a second; 1 MiB is about half a minute of two CPU cores.
SHARD_BYTES = {"gpu": 32 << 20, "cpu": 1 << 20}
# Documents of a shard, which bound it where they are shorter than some 500 (GPU) or 250 characters (CPU): what a
# shard costs the driver is the same, however little is in it.
SHARD_ROWS = {"gpu": 65_536, "cpu": 4_096}
# What one driver feeds with such shards, each of which takes it some 23 ms (tests/benchmarks/SCALE.md) and a GPU at
# least 0.8 s. With more GPUs shards grow in proportion, as far as a worker's memory may be relied on.
GPUS_OF_SMALL_SHARDS = 32
MOST_GROWTH = 8
# Beyond so many shards they grow with the corpus: each is a few tasks that one driver schedules, an object in a
# listing, and a footer to read on a resume (tests/benchmarks/SCALE.md).
MOST_SHARDS = 50_000
# Shards an encoder should get at least where there are several, so that none idles for long while another works on
# the last; a single one only needs enough for its input to be prepared while it works.
SHARDS_PER_ENCODER = 16
SHARDS_OF_ONE_ENCODER = 4
# Reading and tokenising tasks, and commits, on a CPU node at once. Ray Data looks for finished tasks ten times a
# second, so a lone one would bound the job at ten shards a second, however small they are.
TASKS_AT_ONCE = 2
# For the first connection to a cluster.
CONNECT_SECONDS = 10.0
# What a commit reserves: it mostly waits for storage.
COMMIT_CPUS = 0.125
# The least that an actor reserves: fewer CPUs than that are no share at all.
SMALLEST_SHARE = 0.05


@dataclass(frozen=True)
class Resources:
    """What each stage of a job gets.

    Attributes:
        min_encoders, max_encoders: size of the encoder pool.
        encoder_gpus: GPUs of each encoder; 0 on a cluster without.
        encoder_cpus: CPUs that each encoder reserves from Ray. Never all of a node's: reading and committing
            would wait for ever.
        task_cpus: CPUs that each reading and tokenising task reserves.
        threads: torch threads of each encoder, which may be more than it reserves.
        shard_bytes: most bytes of text in a shard.
        shard_rows: most documents in a shard.
    """

    min_encoders: int
    max_encoders: int
    encoder_gpus: float
    encoder_cpus: float
    task_cpus: float
    threads: int
    shard_bytes: int
    shard_rows: int

    @property
    def min_shards(self) -> int:
        """Shards that a corpus is cut into if it is large enough."""
        return SHARDS_PER_ENCODER * self.max_encoders if self.max_encoders > 1 else SHARDS_OF_ONE_ENCODER


def share_out(
    nodes: Sequence[Mapping[str, float]], encoders: str = "auto", device: str = "auto", aggregators: int = 0
) -> Resources:
    """Divide a cluster.

    Args:
        nodes: each node's ``{"CPU": …, "GPU": …}``.
        encoders: ``auto``, a number, or ``min:max``, as in the settings.
        device: ``cpu`` leaves GPUs alone; ``cuda`` insists on them.
        aggregators: actors of the second model, each of which takes as much as an encoder.

    Raises:
        StrideformerError: GPUs are asked for where there are none, or more actors than the cluster has room for.
    """
    cpus = [node.get("CPU", 0.0) for node in nodes if node.get("CPU", 0.0) > 0]
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if not cpus:
        raise StrideformerError("the Ray cluster has no CPUs to schedule on: add a node with CPUs")
    use_gpus = device.startswith("cuda") or (device == "auto" and gpus >= 1)
    if use_gpus and gpus < 1:
        raise StrideformerError(f"device {device!r} was asked for but the Ray cluster has no GPU: use auto or cpu")
    cpus = [number for number in cpus if number * SMALL_NODE >= max(cpus)]
    smallest = min(cpus)
    each_node = sum(max(1, int(number // min(smallest, CORES_PER_CPU_ENCODER))) for number in cpus)
    automatic = max(1, int(gpus) - aggregators) if use_gpus else each_node
    low, _, high = encoders.partition(":")
    minimum = automatic if low == "auto" else int(low)
    maximum = int(high) if high else minimum
    reading = 1.0 if smallest >= 2 else smallest / 2
    if use_gpus:
        if minimum + aggregators > gpus:
            raise StrideformerError(
                f"{minimum} encoders and {aggregators} aggregators need a GPU each, but the Ray cluster has {gpus:g}: "
                f"ask for fewer"
            )
        # A CPU for each actor, if all nodes with GPUs have more CPUs than those: an actor runs where its GPU is.
        roomy = all(node.get("CPU", 0.0) > node["GPU"] for node in nodes if node.get("GPU", 0.0) > 0)
        reserve = 1.0 if roomy and sum(cpus) >= 2 * (maximum + aggregators) + 1 else SMALLEST_SHARE
        growth = min(max(1, maximum // GPUS_OF_SMALL_SHARDS), MOST_GROWTH)
        size = {"shard_bytes": growth * SHARD_BYTES["gpu"], "shard_rows": growth * SHARD_ROWS["gpu"]}
        return Resources(minimum, maximum, 1.0, reserve, reading, 1, **size)
    # Shares of the smallest node, of which as many as there are actors have room on all nodes. Of a pool that may grow
    # only as many as these nodes should have: the others are for nodes that join.
    at_once = min(max(automatic, minimum), maximum) + aggregators
    per_node = next(
        parts for parts in itertools.count(1) if sum(int(number * parts / smallest) for number in cpus) >= at_once
    )
    spare = smallest - reading - TASKS_AT_ONCE * COMMIT_CPUS
    reserve = math.floor(spare / per_node * 100) / 100
    if reserve < SMALLEST_SHARE:
        room = sum(int(number / smallest * int(spare / SMALLEST_SHARE)) for number in cpus)
        raise StrideformerError(
            f"{at_once - aggregators} encoders and {aggregators} aggregators are more than the Ray cluster has room "
            f"for: ask for at most {room}, or for one a core, which is faster"
        )
    threads = max(1, int(smallest // per_node))
    return Resources(
        minimum, maximum, 0.0, reserve, reading / TASKS_AT_ONCE, threads, SHARD_BYTES["cpu"], SHARD_ROWS["cpu"]
    )


def alive_nodes() -> list[dict[str, float]]:
    """Resources of the nodes of the cluster we are connected to."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def connect(address: str | None, dashboard: bool = False, meanwhile: Callable[[], object] | None = None) -> bool:
    """Connect to a Ray cluster, or start one of our own on this machine, on loopback.

    Args:
        address: of the cluster; None is RAY_ADDRESS, or else one of our own.
        dashboard: of our own cluster: Ray Train asks it whether its controller lives, and warns every second where
            there is none.
        meanwhile: called while our own cluster starts, on this thread.

    Returns:
        Whether we started it (and so may shut it down).

    Raises:
        StrideformerError: there is no cluster at the address, or none can be started here.
    """
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": True}
    # Ray prints a note about a future change of this default on every start otherwise.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    with signals_kept():
        if address:
            check_address(address)
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise StrideformerError(f"cannot connect to the Ray cluster at {address}: {error}") from error
        else:
            try:
                start_on_loopback(dashboard, meanwhile, **quiet)
            except Exception as error:  # Ray raises bare ones
                words = (str(error).splitlines() or [type(error).__name__])[0]
                raise StrideformerError(
                    f"Ray could not be started on this machine: {words} Look at its load, memory and disk"
                ) from error
    return True


def check_address(address: str) -> None:
    """Refuse an address where nothing listens, for which Ray would wait without a word.

    Raises:
        StrideformerError: it is that of a dashboard, or cannot be reached.
    """
    scheme, _, rest = address.rpartition("://")
    if scheme in ("http", "https"):
        raise StrideformerError(
            f"{address} is the address that `ray job submit` takes: give HOST:6379, or ray://HOST:10001"
        )
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdecimal():
        return  # auto, local: Ray's own words
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise StrideformerError(
            f"nothing answers at the Ray cluster's address {address} ({error}): check host, port and network"
        ) from error


def disconnect() -> None:
    """Leave the cluster; one that ``connect`` started ends."""
    import ray

    ray.shutdown()


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put back the SIGTERM handler, which ray.init replaces by one that exits without releasing anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
