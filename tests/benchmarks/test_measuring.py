"""The sums that the benchmarks' figures rest on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, ModernBertConfig

from tests.benchmarks.encoder_work import operations, traffic
from tests.benchmarks.measuring import Goal, Spread, interleaved, ratio, read_goals, write_json

MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)


def test_a_round_takes_every_run_once() -> None:
    order: list[str] = []
    ticks = iter(range(100))
    seconds = interleaved({name: partial(order.append, name) for name in "ab"}, 3, clock=lambda: next(ticks))
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_ratios_are_taken_within_a_round() -> None:
    assert ratio([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == Spread(3.0, 2.0, 4.0)


@pytest.mark.parametrize(("found", "at_most", "met"), [(3.0, False, True), (2.9, False, False), (3.0, True, True)])
def test_a_goal_is_met_by_its_median(found: float, at_most: bool, met: bool) -> None:
    goal = Goal("this", "that", 3, Spread(found, 1.0, 5.0), at_most=at_most)
    assert goal.met is met
    assert ("not met" in goal.cells()) is not met


def test_goals_come_back_from_a_file(tmp_path: Path) -> None:
    goals = [Goal("this", "that", 3, Spread.one(2.0), "%", True, 1)]
    write_json(tmp_path / "new" / "one.json", [{"seconds": Spread.one(1.0)}], goals)
    assert read_goals(tmp_path / "new" / "one.json") == goals


def test_a_full_chunk_of_minilm_is_nine_and_a_half_gigaflop() -> None:
    # Six layers of 3,538,944 for each of 384 tokens, and of 4 * 384 for each of their pairs.
    assert operations(MINILM, np.array([384])) == 6 * (3_538_944 * 384 + 4 * 384 * 384 * 384)
    assert operations(MINILM, np.array([384])) == pytest.approx(9.51e9, rel=1e-3)
    assert operations(MINILM, np.array([100, 50])) == sum(operations(MINILM, np.array([n])) for n in (100, 50))


def test_layers_within_a_window_attend_to_fewer_tokens() -> None:
    config = ModernBertConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, local_attention=10
    )
    places = np.arange(40)
    within = (np.abs(places - places[:, None]) <= 5).sum()
    of_tokens = 3 * 2 * (4 * 16 * 16 + 3 * 16 * 24) * 40
    assert operations(config, np.array([40])) == of_tokens + 4 * 16 * (40 * 40 + 2 * within)


def test_a_full_chunk_of_minilm_moves_sixty_megabytes_in_half_precision() -> None:
    assert traffic(MINILM, 384) == pytest.approx(60e6, rel=0.01)
