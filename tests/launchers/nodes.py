"""Machines for a test on one machine: each a network, host name, mounts and process table of its own.

They see the same disk, as the nodes of a cluster do. Each is held by one process, its init, which dies with the test's;
and with it all that runs there, its network included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.processes import end_with_parent

ROOT = Path(__file__).parents[2]
NETWORK = "10.213.71"  # of namespaces alone: no packet leaves them
TOOLS = ("unshare", "nsenter", "ip")
# A shell that waits reaps whatever is left to it, as an init should.
INIT = 'hostname "$1" && mount --bind "$2" /etc/hosts && echo up && while sleep 1000; do :; done'


def missing() -> str | None:
    """Why no such machine can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: apt-get install iproute2 util-linux)"
    probe = subprocess.run(["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "true"], capture_output=True)
    return "may not make network namespaces here" if probe.returncode else None


class Node:
    """One of them."""

    def __init__(self, name: str, address: str, hosts: Path) -> None:
        self.name = name
        self.address = address
        spaces = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            ["unshare", *spaces, "bash", "-c", INIT, "init", name, str(hosts)],
            preexec_fn=end_with_parent,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            raise RuntimeError(f"{name} could not be started")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.init = int(children.read_text().split()[0])
        self._processes = Path(f"/proc/{self.init}/ns/pid").stat().st_ino

    def command(self, *command: str) -> list[str]:
        """That command, on this node, in the root of the clone."""
        enter = ["nsenter", f"--target={self.init}", "--net", "--uts", "--mount", "--pid"]
        return [*enter, "--", "env", f"--chdir={ROOT}", *command]

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            self.command(*command), env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} on {self.name}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as opened:
            return subprocess.Popen(self.command(*command), env=environment, stdout=opened, stderr=opened)

    def pids(self) -> list[int]:
        """Of all its processes, by the ids that they have outside."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns" / "pid").stat().st_ino == self._processes:
                    found.append(int(folder.name))
            except OSError:  # it has ended
                continue
        return found

    def stop(self) -> None:
        self._holder.kill()
        self._holder.wait()
        end = time.monotonic() + 30
        while self.pids() and time.monotonic() < end:
            time.sleep(0.1)


class Nodes:
    """Some of them in one network; the first holds the switch. Each knows the others' names."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)}
        hosts = folder / "hosts"
        hosts.write_text(
            "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in addresses.items())
        )
        self.nodes: list[Node] = []
        try:
            for name, address in addresses.items():
                self.nodes.append(Node(name, address, hosts))
            switch = self.nodes[0]
            switch.run(*"ip link add eth0 type bridge".split())
            for node in self.nodes[1:]:
                # From outside its process table, where the other's init has an id.
                cable = f"ip link add to-{node.name} type veth peer name eth0 netns {node.init}".split()
                subprocess.run(["nsenter", f"--target={switch.init}", "--net", *cable], check=True)
                switch.run(*f"ip link set to-{node.name} master eth0 up".split())
            for node in self.nodes:
                node.run(*f"ip address add {node.address}/24 dev eth0".split())
                for device in ("lo", "eth0"):
                    node.run(*f"ip link set {device} up".split())
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
