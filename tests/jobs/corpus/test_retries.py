from __future__ import annotations

import errno
import logging

import pytest

from jobs.corpus import retries
from jobs.corpus.retries import PATIENCE_SECONDS, is_transient, with_retries
from strideformer.errors import StrideformerError


class ReadTimeoutError(Exception):
    """As botocore's: no OSError."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that only move the clock; the list holds them."""
    pauses: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", pauses.append)
    monkeypatch.setattr(retries.time, "monotonic", lambda: sum(pauses))
    return pauses


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate."), True),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 56, Failure"), True),
        (OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body."), True),
        (OSError(errno.EBUSY, "Please reduce your request rate"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("late"), True),
        (ReadTimeoutError('Read timeout on endpoint URL: "http://x"'), True),
        (OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."), False),
        (PermissionError("Forbidden"), False),
        (FileNotFoundError("timed out/a.parquet"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"), False),
        (StrideformerError("the input must not change; SlowDown"), False),
        (ValueError("no number"), False),
    ],
)
def test_what_may_pass_and_what_cannot(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


def test_a_failure_that_passes_is_told_and_then_forgotten(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    failures = [ConnectionResetError("reset"), OSError("SlowDown")]

    def action() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    with caplog.at_level(logging.WARNING):
        assert with_retries(action, "s3://bucket/a") == "done"
    assert 0.25 <= clock[0] <= 0.5 <= clock[1] <= 1.0
    assert [message[:30] for message in caplog.messages] == [
        "s3://bucket/a: reset; attempt ",
        "s3://bucket/a: SlowDown; attem",
    ]


def test_what_cannot_pass_is_raised_at_once(clock: list[float]) -> None:
    with pytest.raises(PermissionError):
        with_retries(lambda: (_ for _ in ()).throw(PermissionError("no")), "a")
    assert clock == []


@pytest.mark.parametrize(
    ("error", "kind"), [(OSError("SlowDown"), OSError), (ReadTimeoutError("Read timeout"), ConnectionError)]
)
def test_an_outage_that_lasts_ends_as_an_os_error(clock: list[float], error: Exception, kind: type[Exception]) -> None:
    def action() -> None:
        raise error

    with pytest.raises(kind):
        with_retries(action, "a")
    assert PATIENCE_SECONDS - 10 <= sum(clock) <= PATIENCE_SECONDS
    assert len(clock) < 30


def test_waiting_for_the_storage_is_no_hanging(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    told: list[float] = []
    monkeypatch.setattr(retries, "progressed", lambda: told.append(sum(clock)))
    failures = [ConnectionResetError("reset"), OSError("SlowDown")]

    def action() -> None:
        if failures:
            raise failures.pop(0)

    with_retries(action, "s3://bucket/a")
    assert told == [0, clock[0]]
