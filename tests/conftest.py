"""What tests share: a tiny model with real shapes, one Ray for the session, one real S3 server."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before anything imports Ray or transformers: no hub, and a HOME of our own, since Ray writes the token file
# there by which its clusters know their drivers, and later clusters of whoever runs the tests are to keep theirs.
os.environ["HF_HUB_OFFLINE"] = "1"
# Models of a few neurons gain nothing by a second thread, and where another process has a core each of their operations
# waits for it: tests that train took 20 times as long beside two busy processes. Those of threads say how many.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HOME = tempfile.mkdtemp(prefix="strideformer-test-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["HOME"] = HOME
for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(name, None)

pytest_plugins = ["tests.s3_fixtures", "tests.tiny"]


@pytest.fixture(scope="session")
def ray_cluster(s3_server: object) -> Iterator[None]:
    """Ray with four logical CPUs, so that there is room for two encoders beside the other stages.

    It is told of two GPUs that are not there: with ``device="auto"`` a job is laid out as on a cluster with GPUs, and
    its encoders, which find none, compute on the CPU.

    It starts after the S3 server, whose credentials workers take from the environment that they inherit.
    """
    import ray

    from jobs.loopback import start_on_loopback

    start_on_loopback(
        num_cpus=4,
        num_gpus=2,
        object_store_memory=256 << 20,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}},
    )
    yield
    ray.shutdown()
