"""Which processes get GPUs; that they train one model is tested in tests/heavy/test_heavy_train.py."""

from __future__ import annotations

import pytest

from jobs.training.on_ray import uses_gpus
from strideformer.errors import StrideformerError


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"), [("auto", 4, True), ("cuda", 2, True), ("auto", 0, False), ("cpu", 4, False)]
)
def test_a_gpu_for_each_process_where_the_cluster_has_any(device: str, gpus: int, wanted: bool) -> None:
    assert uses_gpus(2, device, {"CPU": 8.0, "GPU": float(gpus)}) is wanted


@pytest.mark.parametrize(("device", "gpus"), [("auto", 1), ("cuda", 1), ("cuda", 0)])
def test_too_few_gpus_are_told_in_place_of_training_on_processors(device: str, gpus: int) -> None:
    with pytest.raises(StrideformerError, match=rf"--workers 2 is more than the {gpus} GPUs .* or --device cpu"):
        uses_gpus(2, device, {"CPU": 8.0, "GPU": float(gpus)})


def test_a_cluster_without_gpus_names_none() -> None:
    assert uses_gpus(2, "auto", {"CPU": 2.0}) is False


def test_too_few_processors_are_told() -> None:
    with pytest.raises(StrideformerError, match="--workers 9 is more than the 8 CPUs of the Ray cluster"):
        uses_gpus(9, "auto", {"CPU": 8.0, "GPU": 16.0})
