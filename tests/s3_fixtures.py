"""Pytest fixtures around the real S3 server of ``tests/s3_server.py``: import them into ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the test session; the AWS variables point at it as long as it runs.

    Ray workers see only the variables that were set before ``ray.init``: a fixture that starts Ray must
    ask for this one first if its tests use S3.
    """
    server = S3Server(tmp_path_factory.mktemp("s3") / "server").start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of an empty bucket for one test."""
    return s3_server.new_bucket()
