from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.corpus.exclusive import create_if_absent
from jobs.corpus.storage import join, read_bytes, resolve
from jobs.output import lease as lease_module
from jobs.output.lease import LEASE_FILE, Lease, Owner
from jobs.output.record import OutputFolder, check_usable
from strideformer.errors import StrideformerError


@pytest.fixture(params=["disk", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> OutputFolder:
    urls = {"disk": lambda: str(tmp_path / "out"), "memory": lambda: f"memory://{tmp_path.name}/out"}
    urls["s3"] = lambda: f"s3://{request.getfixturevalue('s3_bucket')}/out"
    return OutputFolder(urls[request.param](), {})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "SETTLE_SECONDS", 0.1)


def write_owner(folder: OutputFolder, **changes: object) -> Owner:
    """A lease of a process on another machine."""
    owner = Owner("another", "far-away", 17, "other-boot/pid:[1]/17/5", time.time() + 20)
    owner = replace(owner, **changes)  # type: ignore[arg-type]
    folder.write(LEASE_FILE, owner.to_json())
    return owner


def test_it_is_taken_renewed_and_released(folder: OutputFolder) -> None:
    with Lease(folder) as lease:
        first = lease.holder()
        assert first is not None
        assert (first.id, first.pid) == (lease.owner.id, os.getpid())
        assert 25 < first.seconds_left <= 30
        deadline = time.monotonic() + 20
        while (lease.holder() or first).expires == first.expires:
            assert time.monotonic() < deadline, "it was never renewed"
            time.sleep(0.05)
    assert Lease(folder).holder() is None
    assert "tmp" not in folder.names("_strideformer")
    check_usable(folder, resume=False, overwrite=False)


def test_a_live_owner_on_this_machine_is_named_at_once(folder: OutputFolder) -> None:
    with Lease(folder), pytest.raises(StrideformerError, match=rf"process {os.getpid()} on .* until .* UTC .*wait for"):
        Lease(folder).__enter__()


def test_an_expired_or_dead_owner_gives_way(folder: OutputFolder) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from jobs.output.lease import *; print(process_name(os.getpid()))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for changes in ({"expires": time.time() - 1}, {"process": dead, "pid": int(dead.split("/")[2])}):
        write_owner(folder, **changes)
        with Lease(folder) as lease:
            assert (lease.holder() or lease).id == lease.owner.id  # type: ignore[union-attr]


def test_an_owner_elsewhere_is_watched(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path), {})
    write_owner(folder, expires=time.time() + 0.6)
    with Lease(folder) as lease:
        assert lease.owner.id != "another"
    write_owner(folder, expires=time.time() + 20)
    renewing = threading.Timer(0.3, lambda: write_owner(folder, expires=time.time() + 25))
    renewing.start()
    with pytest.raises(StrideformerError, match="process 17 on far-away"):
        Lease(folder).__enter__()
    renewing.join()


def test_a_lease_that_was_lost_is_not_released(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = OutputFolder(str(tmp_path), {})
    with Lease(folder) as lease:
        write_owner(folder)
        lease._renewing.join(timeout=20)
        assert not lease._renewing.is_alive()
    assert any("taken over by process 17 on far-away" in message for message in caplog.messages)
    assert json.loads(read_bytes(*folder.at(LEASE_FILE)))["id"] == "another"


def test_a_file_that_is_no_lease_gives_way(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path), {})
    folder.write(LEASE_FILE, b"{}")
    with Lease(folder) as lease:
        assert lease.holder() is not None


def test_clear_keeps_the_lease(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path), {})
    folder.write("_strideformer/job.json", b"{}")
    with Lease(folder):
        folder.clear()
        assert folder.names("_strideformer") == {"lease.json"}


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_of_many_that_create_one_wins(request: pytest.FixtureRequest, tmp_path: Path, where: str) -> None:
    root = str(tmp_path / "out") if where == "disk" else f"s3://{request.getfixturevalue('s3_bucket')}/out"
    won: list[bytes] = []

    def create(content: bytes) -> None:
        if create_if_absent(join(root, "lease.json"), {}, lambda: content, join(root, "tmp")):
            won.append(content)

    threads = [threading.Thread(target=create, args=(b"%d" % index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read_bytes(*resolve(join(root, "lease.json"), {})) == won[0]
