"""Where a round's input and output lie, looked at from outside: never through the code under test.

The process that forks drivers must not start threads of the AWS SDK, which a fork does not survive: it looks at the
S3 server's files through SeaweedFS's own HTTP interface.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol

from tests.s3_server import S3Server, free_ports

BUCKET = "chaos"
TIMEOUT_SECONDS = 30


class QuietS3Server(S3Server):
    """The S3 server of the tests, found ready without an S3 client."""

    def _takes_writes(self) -> bool:
        try:
            http("PUT", f"{self.filer}/ready/probe", b"ready")
        except (urllib.error.URLError, OSError):
            return False
        return True

    @property
    def filer(self) -> str:
        return f"http://127.0.0.1:{self.ports['filer.port']}"


def http(method: str, url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=body, method=method, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return bytes(answer.read())


class Store(Protocol):
    """A place for outputs."""

    def url(self, name: str) -> str:
        """What the job is told."""

    def files(self, name: str) -> dict[str, int]:
        """Size of every file below an output, by its path there; folders end with ``/`` and have size 0."""

    def read(self, name: str, path: str) -> bytes: ...


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, name: str) -> str:
        return str(self.folder / name)

    def files(self, name: str) -> dict[str, int]:
        found = {}
        root = self.folder / name
        for folder, _, names in os.walk(root):
            relative = Path(folder).relative_to(root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            if prefix:
                found[prefix] = 0
            for each in names:
                try:
                    found[prefix + each] = (Path(folder) / each).stat().st_size
                except FileNotFoundError:
                    continue  # a temporary file that was renamed meanwhile
        return found

    def read(self, name: str, path: str) -> bytes:
        return (self.folder / name / path).read_bytes()


class Bucket:
    """A bucket of the S3 server, by way of the proxy for the job and past it for us."""

    def __init__(self, folder: Path) -> None:
        self.server = QuietS3Server(folder / "s3").start()
        self.orders = folder / "orders.json"
        port = free_ports(1)[0]
        upstream = self.server.endpoint.rpartition(":")[2]
        command = [sys.executable, "-m", "tests.chaos.proxy", str(port), upstream, str(self.orders)]
        self.proxy = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        self.environment = self.server.environment() | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}

    def url(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def put(self, path: str, content: bytes) -> None:
        http("PUT", f"{self.server.filer}/buckets/{BUCKET}/{path}", content)

    def unfinished_uploads(self) -> list[str]:
        """Multipart uploads that were begun and neither completed nor aborted."""
        try:
            url = f"{self.server.filer}/buckets/{BUCKET}/.uploads/?limit=100000"
            return [entry["FullPath"] for entry in json.loads(http("GET", url))["Entries"] or []]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def files(self, name: str) -> dict[str, int]:
        """Without the folders: S3 has none, and SeaweedFS forgets its empty ones in its own time."""
        found: dict[str, int] = {}
        folders = [""]
        while folders:
            prefix = folders.pop()
            try:
                url = f"{self.server.filer}/buckets/{BUCKET}/{name}/{prefix}?limit=100000"
                entries = json.loads(http("GET", url))["Entries"] or []
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    continue
                raise
            for entry in entries:
                path = prefix + entry["FullPath"].rpartition("/")[2]
                if int(entry["Mode"]) & 1 << 31:  # Go's ModeDir
                    folders.append(f"{path}/")
                else:
                    found[path] = int(entry["FileSize"])
        return found

    def read(self, name: str, path: str) -> bytes:
        return http("GET", f"{self.server.filer}/buckets/{BUCKET}/{name}/{path}")

    def break_with(self, fault: str, share: float, most: int) -> None:
        staged = self.orders.with_suffix(".staged")
        staged.write_text(json.dumps({"fault": fault, "share": share, "most": most}))
        staged.replace(self.orders)

    def heal(self) -> None:
        self.orders.unlink(missing_ok=True)

    def stop(self) -> None:
        self.proxy.kill()
        self.proxy.wait()
        self.server.stop()
