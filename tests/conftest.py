"""What tests share: a tiny model with real shapes, one Ray for the session, one real S3 server."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before anything imports Ray or transformers: no hub, and a HOME of our own, since Ray writes a token file
# there that would change later clusters of whoever runs the tests.
os.environ["HF_HUB_OFFLINE"] = "1"
HOME = tempfile.mkdtemp(prefix="strideformer-test-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["HOME"] = HOME
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ.pop("RAY_ADDRESS", None)

pytest_plugins = ["tests.s3_fixtures", "tests.tiny"]


@pytest.fixture(scope="session")
def ray_cluster(s3_server: object) -> Iterator[None]:
    """Ray with four logical CPUs, so that there is room for two encoders beside the other stages.

    It is told of two GPUs that are not there: with ``device="auto"`` a job is laid out as on a cluster with GPUs, and
    its encoders, which find none, compute on the CPU.

    It starts after the S3 server, whose credentials workers take from the environment that they inherit.
    """
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        object_store_memory=256 << 20,
        _node_ip_address="127.0.0.1",
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}},
    )
    yield
    ray.shutdown()
