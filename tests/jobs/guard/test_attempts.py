from __future__ import annotations

from jobs.guard.attempts import Attempts


def test_attempts_are_counted_until_one_ends() -> None:
    attempts = Attempts()
    assert [attempts.begin("Chunk", 1), attempts.begin("Chunk", 1), attempts.begin("Chunk", 2)] == [1, 2, 1]
    assert attempts.begin("Encode", 1) == 1
    attempts.end("Chunk", 1)
    assert attempts.begin("Chunk", 1) == 1


def test_starts_are_counted_until_one_succeeds() -> None:
    attempts = Attempts()
    assert [attempts.starting("Encode"), attempts.starting("Encode")] == [1, 2]
    attempts.ready("Encode")
    assert attempts.starting("Encode") == 1
