from __future__ import annotations

from jobs.guard.attempts import Attempts


def test_attempts_are_counted_until_one_ends() -> None:
    attempts = Attempts()
    assert [attempts.begin("Chunk", 1), attempts.begin("Chunk", 1), attempts.begin("Chunk", 2)] == [1, 2, 1]
    assert attempts.begin("Encode", 1) == 1
    attempts.end("Chunk", 1)
    assert attempts.begin("Chunk", 1) == 1


def test_starts_of_each_actor_are_counted_until_one_succeeds() -> None:
    attempts = Attempts()
    assert [attempts.starting("Encode", "a"), attempts.starting("Encode", "a")] == [1, 2]
    attempts.ready("Encode", "a")
    assert attempts.starting("Encode", "a") == 1


def test_actors_that_start_at_the_same_time_do_not_count_for_each_other() -> None:
    attempts = Attempts()
    assert {attempts.starting("Encode", str(actor)) for actor in range(1000)} == {1}
