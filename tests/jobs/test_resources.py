from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.resources import COMMIT_CPUS, check_address, share_out
from strideformer.errors import StrideformerError

ROOT = Path(__file__).parents[2]


def test_one_encoder_a_gpu() -> None:
    shared = share_out([{"CPU": 32, "GPU": 4}, {"CPU": 32, "GPU": 4}, {"CPU": 8}])
    assert (shared.min_encoders, shared.max_encoders, shared.encoder_gpus) == (8, 8, 1)


@pytest.mark.parametrize(
    "nodes",
    [[{"CPU": 8}, {"CPU": 2, "GPU": 4}], [{"CPU": 64}, {"CPU": 4, "GPU": 8}], [{"CPU": 32}, {"CPU": 1, "GPU": 2}]],
)
def test_no_gpu_idles_for_want_of_a_cpu_beside_it(nodes: list[dict[str, float]]) -> None:
    shared = share_out(nodes)
    for node in nodes:
        assert node.get("GPU", 0) * shared.encoder_cpus < node["CPU"]


@pytest.mark.parametrize("cpus", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("encoders", ["auto", "1", "2", "4"])
@pytest.mark.parametrize("aggregators", [0, 1])
def test_there_is_always_room_for_two_tasks_and_two_commits(cpus: int, encoders: str, aggregators: int) -> None:
    shared = share_out([{"CPU": cpus}, {"CPU": cpus}], encoders, aggregators=aggregators)
    on_one_node = -(-(shared.max_encoders + aggregators) // 2)
    assert shared.encoder_cpus > 0
    assert on_one_node * shared.encoder_cpus + 2 * (shared.task_cpus + COMMIT_CPUS) <= cpus + 1e-9


@pytest.mark.parametrize(
    ("cpus", "encoders", "threads"),
    [
        ([2, 64, 64, 64, 64], 16, 16),  # the head only schedules
        ([1, *[96] * 20], 120, 16),
        ([16, 64], 5, 16),
        ([4, 8], 3, 4),
        ([24, 24], 2, 24),
        ([2], 1, 2),
    ],
)
def test_cpus_of_unlike_nodes_are_all_used(cpus: list[int], encoders: int, threads: int) -> None:
    shared = share_out([{"CPU": number} for number in cpus])
    assert (shared.max_encoders, shared.threads) == (encoders, threads)
    assert sum(int((number - 1.25) / shared.encoder_cpus) for number in cpus) >= encoders


def test_aggregators_take_gpus_of_their_own() -> None:
    shared = share_out([{"CPU": 32, "GPU": 8}], aggregators=1)
    assert (shared.max_encoders, shared.encoder_gpus) == (7, 1)


def test_min_and_max() -> None:
    shared = share_out([{"CPU": 8}], "2:5")
    assert (shared.min_encoders, shared.max_encoders) == (2, 5)
    assert shared.min_shards == 80


def test_a_pool_that_may_grow_is_sized_for_the_nodes_that_are_there() -> None:
    one, two = share_out([{"CPU": 8}]), share_out([{"CPU": 8}], "2")
    for encoders, like in (("1:8", one), ("2:8", two)):
        shared = share_out([{"CPU": 8}], encoders)
        assert (shared.encoder_cpus, shared.threads) == (like.encoder_cpus, like.threads)
    assert share_out([{"CPU": 8}, {"CPU": 8}], "1:8").threads == 8


def test_one_encoder_needs_fewer_shards_than_several_each() -> None:
    assert [share_out([{"CPU": 8}], encoders).min_shards for encoders in ("1", "2")] == [4, 32]


def test_shards_of_a_gpu_hold_more_than_those_of_a_cpu() -> None:
    gpu, cpu = share_out([{"CPU": 8, "GPU": 1}]), share_out([{"CPU": 8}])
    assert gpu.shard_bytes > cpu.shard_bytes
    assert gpu.shard_rows > cpu.shard_rows


@pytest.mark.parametrize(("gpus", "mebibytes"), [(1, 32), (63, 32), (64, 64), (256, 256), (1000, 256)])
def test_shards_grow_with_the_gpus_that_one_driver_feeds(gpus: int, mebibytes: int) -> None:
    assert share_out([{"CPU": 8, "GPU": gpus}]).shard_bytes == mebibytes << 20


def test_the_cpu_may_be_insisted_on() -> None:
    assert share_out([{"CPU": 8, "GPU": 2}], device="cpu").encoder_gpus == 0


@pytest.mark.parametrize(
    ("nodes", "encoders", "device", "message"),
    [
        ([{"CPU": 8}], "auto", "cuda", "no GPU"),
        (
            [{"CPU": 8, "GPU": 2}],
            "3",
            "auto",
            "3 encoders and 0 aggregators need a GPU each, but the Ray cluster has 2",
        ),
        ([{"GPU": 2}], "auto", "auto", "no CPUs"),
        ([{"CPU": 2}], "50", "auto", "ask for at most 15"),
    ],
)
def test_what_cannot_be_had_is_told(nodes: list[dict[str, float]], encoders: str, device: str, message: str) -> None:
    with pytest.raises(StrideformerError, match=message):
        share_out(nodes, encoders, device)


def test_a_ray_that_cannot_start_is_told_in_a_sentence() -> None:
    code = "from jobs.resources import connect; connect(None)"
    environment = os.environ | {"RAY_TMPDIR": f"{__file__}/below"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "StrideformerError: Ray could not be started on this machine: [Errno 20] Not a directory" in run.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "is the address that `ray job submit` takes: give HOST:6379"),
        ("127.0.0.1:1", "nothing answers at the Ray cluster's address 127.0.0.1:1"),
        ("ray://localhost:1", "nothing answers at the Ray cluster's address ray://localhost:1"),
    ],
)
def test_an_address_where_no_cluster_is_is_told_at_once(address: str, message: str) -> None:
    with pytest.raises(StrideformerError, match=message):
        check_address(address)


def test_an_address_where_something_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    check_address("auto")
