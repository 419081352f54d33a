from __future__ import annotations

import pytest

from jobs.sharded_job import first_line
from strideformer.errors import StrideformerError

ADVICE = (
    "Failed to run map task after 1/1 attempts (total backoff 0.0s).\n"
    "This looks like an AWS S3 permissions error.\nTo change retry attempts, configure `ray.data.DataContext`"
)


def test_an_error_without_words_is_named() -> None:
    assert first_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StrideformerError(f"s3://b/out: access denied: check the credentials\n{ADVICE}"), "s3://b/out: access denied"),
        (OSError(28, "No space left on device"), "the disk that Ray works on and spills its objects to is full"),
        (RuntimeError("Local disk is full\nthe local disk's utilization is over capacity"), "spills its objects to is"),
        (StrideformerError("/out/part-1: no space is left on the disk: free some"), "/out/part-1: no space is left"),
    ],
)
def test_the_reason_is_told_without_rays_words(error: Exception, words: str) -> None:
    outer = RuntimeError("a worker's traceback")
    outer.__cause__ = error
    for each in (error, outer):
        assert words in first_line(each)
        assert "attempts" not in first_line(each)
