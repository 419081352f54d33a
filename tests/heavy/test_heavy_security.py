"""A whole job of the command, on a Ray of its own and a real S3 server, watched from outside: what it tells and opens.

It is refused by the storage midway, so that exceptions cross from the workers to the driver, and resumed.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.processes import titles, with_descendants
from tests.chaos.stores import Bucket
from tests.listening import beyond_loopback, listening
from tests.tiny import write_corpus

ROOT = Path(__file__).parents[2]
PLANTED = {
    "HF_TOKEN": "hf_plantedplantedplanted",
    "AZURE_STORAGE_KEY": "plantedazureplantedazure",
    "AZURE_CLIENT_SECRET": "plantedclientplantedclient",
    "GOOGLE_API_KEY": "plantedgoogleplantedgoogle",
}


@dataclass
class Watched:
    """What was seen of a driver and all that it started."""

    code: int | None = None
    said: bytes = b""
    command_lines: set[str] = field(default_factory=set)
    listened: set[str] = field(default_factory=set)
    beyond: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for Ray's sockets lie below it."""
    found = Path(tempfile.mkdtemp(prefix="sec-", dir="/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture
def bucket(folder: Path) -> Iterator[Bucket]:
    found = Bucket(folder)
    yield found
    found.stop()


def run_watched(command: list[str], environment: dict[str, str], log: Path, midway: object = None) -> Watched:
    """Run a command to its end; ``midway`` is called once, when the first parts are there."""
    watched = Watched()
    with log.open("wb") as output:
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=log.parent, umask=0o027)
    deadline = time.monotonic() + 900
    try:
        while driver.poll() is None:
            assert time.monotonic() < deadline, log.read_text()
            family = with_descendants([driver.pid])
            known = titles()
            watched.command_lines |= {known[pid] for pid in family if pid in known}
            watched.listened |= set(listening(family))
            watched.beyond |= beyond_loopback(family)
            if callable(midway):
                midway()
            time.sleep(0.2)
    finally:
        driver.kill()
        driver.wait()
    watched.code, watched.said = driver.returncode, log.read_bytes()
    return watched


def test_nothing_secret_is_told_and_nothing_is_open(folder: Path, bucket: Bucket, tiny_checkpoint: Path) -> None:
    write_corpus(folder / "a.parquet", 400, longest=60)
    bucket.put("corpus/a.parquet", (folder / "a.parquet").read_bytes())
    ray_folder, home = folder / "ray", folder / "home"
    for each in (ray_folder, home):
        each.mkdir()
    environment = os.environ | bucket.environment | PLANTED
    environment |= {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(ray_folder), "HOME": str(home), "TMPDIR": str(folder)}
    environment.pop("RAY_AUTH_MODE", None)  # Ray's own default is under test
    command = [sys.executable, "-m", "jobs.classify", "s3://chaos/corpus/", "s3://chaos/out", "--shard-rows", "4"]
    command += ["--model", str(tiny_checkpoint), "--device", "cpu", "--progress", "plain", "--profile"]

    def forbid() -> None:
        if any(path.startswith("part-") for path in bucket.files("out")) and not bucket.orders.exists():
            bucket.break_with("forbid", 1.0, 1 << 40)

    stopped = run_watched(command, environment, folder / "stopped.log", forbid)
    assert stopped.code == 1, stopped.said
    assert b"access denied" in stopped.said
    bucket.heal()
    refusals: list[str] = []

    def knock() -> None:
        """Whoever lacks the token is sent away."""
        ports = list(ray_folder.rglob("gcs_server_port_*"))
        newest = max(ports, key=lambda path: path.stat().st_mtime_ns, default=None)
        if not refusals and newest and any(path.startswith("part-0000003") for path in bucket.files("out")):
            refusals.append(connect_without_token(int(newest.read_text()), folder))

    finished = run_watched([*command, "--resume"], environment, folder / "finished.log", knock)
    assert finished.code == 0, finished.said
    assert json.loads(bucket.read("out", "_SUCCESS"))["labelled"] == 400
    assert refusals
    assert "InvalidAuthToken" in refusals[0], refusals[0]
    assert "connected" not in refusals[0]

    token = home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secrets = [bucket.server.secret_key, *PLANTED.values(), token.read_text().strip()]
    written = {f"s3: {path}": bucket.read("out", path) for path in bucket.files("out") if not path.endswith("/")}
    logs = [
        path for path in [*ray_folder.rglob("*"), *folder.glob("*.log")] if path.is_file() and not path.is_symlink()
    ]
    written |= {str(path): path.read_bytes() for path in logs}
    lines = stopped.command_lines | finished.command_lines
    written["command lines"] = "\n".join(lines).encode()
    assert len(logs) > 20, "Ray's logs are among them"
    assert any("EncodeAndAggregate" in line for line in lines), "the workers are among them"
    for place, content in written.items():
        for secret in secrets:
            assert secret.encode() not in content, f"a secret is in {place}"
    assert len(stopped.listened | finished.listened) >= 10
    assert stopped.beyond | finished.beyond == {}
    server = [bucket.proxy.pid, *(pid for pid, title in titles().items() if f"-dir={bucket.server.folder}" in title)]
    assert len(listening(server)) >= 8
    assert beyond_loopback(server) == {}


def connect_without_token(port: int, folder: Path) -> str:
    """Try to join as a driver with a token of one's own: what Ray says of it within half a minute, or ``connected``."""
    script = (
        "import ray\n"
        f"ray.init(address='127.0.0.1:{port}', logging_level='CRITICAL')\n"
        "print('connected', ray.get(ray.remote(lambda: 1).remote()))\n"
    )
    stranger = folder / "stranger"
    stranger.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(stranger), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        return process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:  # Ray knocks again and again
        process.kill()
        return process.communicate()[0]
