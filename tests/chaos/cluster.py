"""A real Ray cluster of several nodes on loopback, of which any one but the head can be killed and replaced.

It listens on 127.0.0.1 alone, and takes nobody's word without the token of this run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.processes import kill, titles, with_descendants
from tests.s3_server import free_ports

ROOT = Path(__file__).parents[2]
RAY = (sys.executable, "-m", "tests.chaos.node")
STORE_BYTES = 100 << 20
START_ATTEMPTS = 4
PORTS = (
    "object-manager-port",
    "node-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
# A dead node is to be noticed in seconds; a loaded machine of two cores is not to be taken for a dead one.
QUICK_DETECTION = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "5",
    # Ray makes its workers yield to all else by default: rounds would take minutes on a machine that is busy.
    "RAY_worker_niceness": "0",
}


class Cluster:
    """One head and some workers; every process belongs to a node by the node's own temporary folder."""

    def __init__(self, folder: Path, environment: dict[str, str], nodes: int = 3, cpus: int = 2) -> None:
        self.folder = folder
        self.cpus = cpus
        self.environment = os.environ | QUICK_DETECTION | environment | {"PYTHONPATH": str(ROOT)}
        self.environment["PYTHONWARNINGS"] = "ignore"
        self.started = 0
        port = free_ports(1)[0]
        self.address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        self.head = self._start([*head, f"--ray-client-server-port={free_ports(1)[0]}"])
        self.workers = [self._start([f"--address={self.address}"]) for _ in range(nodes - 1)]

    def add(self) -> None:
        self.workers.append(self._start([f"--address={self.address}"]))

    def kill_node(self, node: Path) -> None:
        """SIGKILL the raylet and all it started."""
        kill(self.pids(node))
        self.workers = [worker for worker in self.workers if worker != node]

    def pids(self, node: Path) -> set[int]:
        found = [pid for pid, title in titles().items() if f"{node}/" in title or f"{node} " in title]
        return with_descendants(found) - {os.getpid()}

    def tasks(self, words: Sequence[str]) -> list[int]:
        """Ray's workers of this cluster whose title holds one of these words."""
        known = titles()
        pids = set().union(*(self.pids(node) for node in [self.head, *self.workers]))
        return sorted(
            pid for pid in pids if known.get(pid, "").startswith("ray::") and any(word in known[pid] for word in words)
        )

    def stop(self) -> None:
        for node in [*self.workers, self.head]:
            kill(self.pids(node))
        time.sleep(0.2)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, arguments: list[str]) -> Path:
        """Start a node; again where Ray gave up since the machine was too busy to start its agents in time."""
        for attempt in range(START_ATTEMPTS):
            node = self.folder / f"n{self.started}"
            self.started += 1
            node.mkdir(parents=True)
            ports = free_ports(len(PORTS))
            command = [
                *RAY,
                "start",
                *arguments,
                "--node-ip-address=127.0.0.1",
                f"--num-cpus={self.cpus}",
                f"--object-store-memory={STORE_BYTES}",
                f"--temp-dir={node}",
                "--disable-usage-stats",
                *(f"--{name}={number}" for name, number in zip(PORTS, ports, strict=True)),
            ]
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=180)
            if not done.returncode:
                return node
            kill(self.pids(node))
            if attempt == START_ATTEMPTS - 1:
                raise RuntimeError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr[-2000:]}")
        raise AssertionError("unreachable")
