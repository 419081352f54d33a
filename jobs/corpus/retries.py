"""Storage calls that fail for a moment are made again, with a growing and random pause; what cannot pass is not.

Requests have retries of their own inside the clients (three quick ones, unseen). This is the layer above: a whole
read, write or listing is made again, and each time is told in the log.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from jobs.corpus.redaction import without_secrets
from strideformer.errors import StrideformerError
from strideformer.watchdog import progressed

# Long enough for a storage server to restart or a throttled bucket to be split, counted from the first failure.
PATIENCE_SECONDS = 120.0
# Before the job: a mistyped endpoint fails like a restarting server, and is to be told soon.
PREFLIGHT_PATIENCE_SECONDS = 8.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0

_log = logging.getLogger(__name__)

T = TypeVar("T")

_PERMANENT = (
    StrideformerError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
# s3fs gives EBUSY for 500, 503 and SlowDown; ESTALE is NFS after a failover.
_TRANSIENT_NUMBERS = {errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.ESTALE, errno.ENETUNREACH}
# Words of pyarrow's clients (the AWS SDK's error names, curl), of botocore and of aiohttp: neither a type nor a
# number that is theirs alone comes with them.
_TRANSIENT_WORDS = (
    "NETWORK_CONNECTION",
    "SLOW_DOWN",
    "SlowDown",
    "reduce your request rate",
    "SERVICE_UNAVAILABLE",
    "ServiceUnavailable",
    "INTERNAL_FAILURE",
    "InternalError",
    "THROTTLING",
    "Throttling",
    "REQUEST_TIMEOUT",
    "RequestTimeout",
    "HTTP status 500",
    "HTTP status 502",
    "HTTP status 503",
    "HTTP status 504",
    "HTTP status 429",
    "curlCode",
    "Could not connect",
    "Cannot connect",
    "Connect timeout",
    "Read timeout",
    "timed out",
    "Timeout was reached",
    "Connection reset",
    "Connection was closed",
    "Server disconnected",
    "ClientPayloadError",
    "Response payload is not completed",
    "IncompleteRead",
    "Temporary failure in name resolution",
)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later.

    True for 429, 500, 502, 503 and 504, lost, refused or stalled connections, and responses cut short; false for
    everything else: 403 and 404, a full disk, a corrupt file, a wrong call.
    """
    if isinstance(error, _PERMANENT):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT_NUMBERS:
        return True
    words = f"{type(error).__name__}: {error}"
    return any(sign in words for sign in _TRANSIENT_WORDS)


def with_retries(action: Callable[[], T], place: str, patience: float = PATIENCE_SECONDS) -> T:
    """Do ``action`` until it succeeds, fails for good, or has failed for ``patience`` seconds.

    The pause doubles from half a second to ten, less a random part of up to half, so that the workers of a
    cluster do not come back all at once.

    Args:
        action: May run several times, so doing it twice must do no harm.
        place: URL or path, for the log.
        patience: Seconds from the first failure after which no further attempt is begun.

    Raises:
        OSError: the transient failure that outlasted the patience.
        Exception: what ``action`` raised, if it is not transient; at once.
    """
    attempt = 1
    first_failure: float | None = None
    while True:
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            now = time.monotonic()
            first_failure = now if first_failure is None else first_failure
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            pause *= random.uniform(0.5, 1.0)  # noqa: S311 -- to spread load, not to hide anything
            words = (str(error).splitlines() or [""])[0] or type(error).__name__
            words = without_secrets(words[max(0, words.find("AWS Error")) :])[:160]
            if now + pause - first_failure > patience:
                _log.warning("%s: %s; gave up after %d attempts in %.0f s", place, words, attempt, now - first_failure)
                if isinstance(error, OSError):
                    raise
                raise ConnectionError(words) from error  # botocore's and aiohttp's errors are no OSErrors
            _log.warning("%s: %s; attempt %d failed, the next is in %.1f s", place, words, attempt, pause)
        progressed()  # it is the storage that takes the time, and no document
        time.sleep(pause)
        attempt += 1
