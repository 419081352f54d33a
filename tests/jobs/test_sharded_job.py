from __future__ import annotations

import pytest

from jobs.sharded_job import first_line


class TaskError(Exception):
    """As Ray's: the worker's traceback for words, and a cause that has lost its own."""

    cause = RuntimeError("UDF failed to process a data block.\nFailed to apply UDF after 1/1 attempts\nTo change …")


# As Ray 2.60 gives it.
WORKER = """\x1b[36mray::MapBatches(Commit)()\x1b[39m (pid=21821, ip=127.0.0.1)
OSError: AWS Error ACCESS_DENIED during PutObject

The above exception was the direct cause of the following exception:

\x1b[36mray::MapBatches(Commit)()\x1b[39m (pid=21821, ip=127.0.0.1)
  File "/jobs/output/commit.py", line 11, in _publish
    raise storage_error(error, url) from error
{raised}

The above exception was the direct cause of the following exception:

\x1b[36mray::MapBatches(Commit)()\x1b[39m (pid=21821, ip=127.0.0.1)
ray.exceptions.UserCodeException: UDF failed to process a data block.
Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).
To change retry attempts, backoff, or which errors are retried, configure `ray.data.DataContext.get_current()`."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            "strideformer.errors.StrideformerError: s3://b/part-1: access denied: check the credentials",
            "s3://b/part-1: access denied: check the credentials",
        ),
        ("AssertionError: a block holds 3 rows", "AssertionError: a block holds 3 rows"),
        (
            "OSError: [Errno 28] No space left on device",
            "the disk that Ray works on and spills its objects to is full on a node: free space there",
        ),
    ],
)
def test_what_a_task_raised_is_told_without_rays_words(raised: str, told: str) -> None:
    assert first_line(TaskError(WORKER.format(raised=raised))) == told


def test_what_ray_itself_raised_is_told() -> None:
    outer = RuntimeError("a traceback")
    outer.__cause__ = ValueError("first\nthe actor died 4 times")
    assert first_line(outer) == "the actor died 4 times"
    assert first_line(ValueError()) == "ValueError"
    full = RuntimeError("Local disk is full\nthe local disk's utilization is over capacity (95% by default).Tip: df")
    assert "spills its objects to is full on a node" in first_line(full)
