from __future__ import annotations

import pytest

from jobs.resources import share_out
from strideformer.errors import StrideformerError


def test_one_encoder_a_gpu() -> None:
    shared = share_out([{"CPU": 32, "GPU": 4}, {"CPU": 32, "GPU": 4}, {"CPU": 8}])
    assert (shared.min_encoders, shared.max_encoders, shared.encoder_gpus) == (8, 8, 1)


def test_encoders_never_take_all_cpus_of_a_node() -> None:
    for cpus in (1, 2, 4, 16, 64):
        for encoders in ("auto", "1", "2", "8", "1:4"):
            shared = share_out([{"CPU": cpus}], encoders)
            left = cpus - shared.max_encoders * shared.encoder_cpus
            assert shared.encoder_cpus > 0
            assert left >= min(1.0, cpus / 2), (cpus, encoders, shared)


def test_min_and_max() -> None:
    shared = share_out([{"CPU": 8}], "2:5")
    assert (shared.min_encoders, shared.max_encoders) == (2, 5)
    assert shared.min_shards == 20


def test_the_cpu_may_be_insisted_on() -> None:
    assert share_out([{"CPU": 8, "GPU": 2}], device="cpu").encoder_gpus == 0


@pytest.mark.parametrize(
    ("nodes", "encoders", "device", "message"),
    [
        ([{"CPU": 8}], "auto", "cuda", "no GPU"),
        ([{"CPU": 8, "GPU": 2}], "3", "auto", "has 2 GPUs: use --encoders 2"),
        ([{"GPU": 2}], "auto", "auto", "no CPUs"),
    ],
)
def test_what_cannot_be_had_is_told(nodes: list[dict[str, float]], encoders: str, device: str, message: str) -> None:
    with pytest.raises(StrideformerError, match=message):
        share_out(nodes, encoders, device)
