from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import train_loop
from strideformer.training import TrainingOptions, pace, trainer
from strideformer.training.pace import Pace
from tests.strideformer.training.separable import COLLATE, new_model, separable


def seconds(*values: float) -> Iterator[float]:
    return iter(values)


def test_it_tells_now_and_then_and_reckons_with_its_own_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    times = seconds(0, 5, 20, 25, 40, 2000, 2010)
    work = Pace("took", 1_000, "steps", before=100, clock=lambda: next(times))
    for done in (100, 110, 200, 250, 300, 500, 1_000):
        if done != 100:
            work.at(done)
    assert capsys.readouterr().err.splitlines() == [
        "took 200 of 1,000 steps, about 3 min left",
        "took 300 of 1,000 steps, about 2 min left",
        "took 500 of 1,000 steps, about 42 min left",
    ]


def test_it_is_silent_where_another_process_tells(capsys: pytest.CaptureFixture[str]) -> None:
    times = seconds(0, 60)
    Pace("took", 10, "steps", quiet=True, clock=lambda: next(times)).at(5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("way", [trainer.train, train_loop.train])
def test_both_ways_of_training_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: object
) -> None:
    assert callable(way)
    monkeypatch.setattr(pace, "SECONDS_BETWEEN_LINES", 0.0)
    options = TrainingOptions(epochs=2, budget=64)
    way(new_model(), separable(60, 1), separable(60, 2), COLLATE, options, tmp_path, use_cpu=True)
    told = capsys.readouterr().err.splitlines()
    steps = [line.split(",")[0] for line in told if line.startswith("took")]
    assert steps[:2] == [f"took 1 of {len(steps) + 1} steps", f"took 2 of {len(steps) + 1} steps"]
    assert any(line.startswith("scored ") and " of 60 validation documents, about 0 s left" in line for line in told)
