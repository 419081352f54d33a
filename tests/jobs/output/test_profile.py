from __future__ import annotations

import pytest

from jobs.output.profile import STAGES, profile, tokenizer_in_words
from jobs.output.receipt import Receipt, add_up


def test_the_seconds_of_all_shards_by_stage_and_the_device_s_share() -> None:
    one = {"read": 1.0, "chunk": 2.0, "wait": 3.0, "encode": 10.0, "copy": 1.0, "forward": 6.0, "write": 0.5}
    shard = Receipt(0, "job", seconds=one | {"aggregate": 2.0, "aggregate_forward": 1.5})
    found = profile(add_up([shard, shard]))
    assert list(found["seconds"]) == list(STAGES)
    assert found["seconds"] == {
        "read": 2,
        "tokenize_and_chunk": 4,
        "wait_for_input": 6,
        "prepare": 6,
        "copy": 2,
        "forward": 12,
        "aggregate": 4,
        "write_and_commit": 1,
    }
    assert found["device_share"] == (6 + 1.5) / (3 + 10 + 2)
    assert profile(Receipt(-1, "job"))["device_share"] is None


@pytest.mark.parametrize(
    ("segments", "fast", "off", "words"),
    [
        (10, 0, {}, "the reference (too little text for the faster one)"),
        (10, 0, {"none is installed": 3}, "the reference (none is installed)"),
        (200, 150, {}, "the faster one for 75.0 %"),
        (200, 150, {"ids differed": 2}, "the faster one for 75.0 % (off in 2 shards: ids differed)"),
    ],
)
def test_which_tokenizer_was_in_use(segments: int, fast: int, off: dict[str, int], words: str) -> None:
    half = Receipt(0, "job", segments=segments // 2, segments_fast=fast // 2, fast_off=off)
    rest = Receipt(1, "job", segments=segments // 2, segments_fast=fast // 2)
    total = add_up([half, rest])
    assert tokenizer_in_words(total) == words
    assert profile(total)["tokenizer"] == {"segments": segments, "fast": fast, "fast_off": off}
