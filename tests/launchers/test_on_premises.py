"""cluster/on-premises/cluster.yaml on three machines that are reached over ssh: one to call from, a head, a worker.

What it does not do is download: each machine has, below what the setup commands write, the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
import yaml

from tests.chaos.processes import titles
from tests.launchers import nodes
from tests.launchers.slurm import wait_until

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster" / "on-premises" / "cluster.yaml"
DATA = ROOT / "tests" / "data"
SSHD = "/usr/sbin/sshd"
TOOLS = (SSHD, "ssh", "ssh-keygen", "rsync")
SECONDS = 400


def missing() -> str | None:
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"needs {', '.join(absent)} (Debian: apt-get install openssh-server rsync)" if absent else None


REASON = nodes.missing() or missing()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=str(REASON)), pytest.mark.timeout(900)]


class Machines:
    """Each with a home folder, an sshd that takes the one key, and an environment of Python that is its own to change.

    Attributes:
        folder: of it all: homes, ``cluster.yaml``, and logs.
    """

    def __init__(self, network: nodes.Nodes, folder: Path) -> None:
        self.folder = folder
        self.caller, self.head, self.worker = network.nodes
        self.key = folder / "key"
        self._say("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        Path("/run/sshd").mkdir(exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        for node in network.nodes:
            home = self.home(node)
            for part in (".ssh", ".ray", ".config/pip", "upper", "work", "tmp-ray", "strideformer/venv"):
                (home / part).mkdir(parents=True, mode=0o700)
            shutil.copy(self.key.with_suffix(".pub"), home / ".ssh" / "authorized_keys")
            (home / ".config/pip/pip.conf").write_text("[install]\nno-index = true\nno-build-isolation = false\n")
            python = Path(sys.executable).resolve().parent
            (home / ".bash_profile").write_text(f"export PATH={python}:$PATH HF_HUB_OFFLINE=1\n")
            (home / ".bashrc").touch()
            users = home / "passwd"
            users.write_text(f"root:x:0:0:root:{home}:/bin/bash\n" + Path("/etc/passwd").read_text().split("\n", 1)[1])
            node.run("mount", "--bind", str(users), "/etc/passwd")
            node.run("mount", "--bind", str(home / "tmp-ray"), "/tmp/ray")
            layers = f"lowerdir={sys.prefix},upperdir={home}/upper,workdir={home}/work"
            node.run("mount", "-t", "overlay", "overlay", "-o", layers, sys.prefix)
            node.run("mount", "--bind", sys.prefix, str(home / "strideformer" / "venv"))
            options = {"Port": 22, "HostKey": self.key, "PidFile": "none", "UsePAM": "no", "StrictModes": "no"}
            arguments = [f"-o{name}={value}" for name, value in options.items()]
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
            node.start(SSHD, "-D", "-e", "-f/dev/null", *arguments, environment=environment, log=home / "sshd.log")
        settings = yaml.safe_load(FILE.read_text())
        settings["provider"] |= {"head_ip": self.head.address, "worker_ips": [self.worker.address]}
        settings["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.key)}
        (folder / "cluster.yaml").write_text(yaml.safe_dump(settings))

    def home(self, node: nodes.Node) -> Path:
        return self.folder / node.name

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """On the calling machine, in the clone."""
        return self._say(*self.caller.command(*command), environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{sys.prefix}/bin:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home(self.caller)), "RAY_AUTH_MODE": "token", "TMPDIR": str(self.folder)}

    def ray_processes(self, node: nodes.Node) -> list[int]:
        known = titles()
        return [pid for pid in node.pids() if "/raylet/raylet " in known.get(pid, "")]

    @staticmethod
    def _say(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )


@pytest.fixture
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="op-", dir="/tmp"))
    connections = set(Path("/tmp").glob("ray_ssh_*"))
    with nodes.Nodes(folder, ["caller", "head", "worker"]) as network:
        yield Machines(network, folder)
    left = [node.name for node in network.nodes if node.pids()]
    shutil.rmtree(folder)
    for made in set(Path("/tmp").glob("ray_ssh_*")) - connections:
        shutil.rmtree(made)
    assert not left


def classify(output: Path) -> list[str]:
    job = ["strideformer", "classify", str(DATA / "rfc-sample" / "rfcs.parquet"), str(output)]
    job += ["--model", str(DATA / "rfc-model"), "--id-column", "doc_id", "--keep-columns", "label:working_group"]
    return ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--", *job]


def test_up_a_job_and_down(machines: Machines) -> None:
    file, log = str(machines.folder / "cluster.yaml"), machines.folder / "caller.log"
    machines.call("ray", "get-auth-token", "--generate")
    token = machines.home(machines.caller) / ".ray" / "auth_token"
    token.chmod(0o600)

    up = machines.call("ray", "up", "-y", file)
    assert up.returncode == 0, up.stdout
    cpus = f"/{2 * (os.cpu_count() or 1)}.0 CPU"
    wait_until(lambda: cpus in machines.call("ray", "exec", file, "ray status").stdout, "both in ray status")
    copy = machines.home(machines.worker) / ".ray" / "auth_token"
    assert copy.read_text() == token.read_text()
    assert copy.stat().st_mode & 0o777 == 0o600
    listening = {line.split()[3] for line in machines.head.run("ss", "-Hltn").splitlines()}
    assert {place for place in listening if place.endswith(":8265")} == {"127.0.0.1:8265"}

    forwarded = machines.caller.start("ray", "dashboard", file, environment=machines.environment, log=log)
    list_jobs = ["ray", "job", "list", "--address", "http://127.0.0.1:8265"]
    wait_until(lambda: machines.call(*list_jobs).returncode == 0, "the forwarded port")
    output = machines.folder / "labelled"
    job = machines.caller.start(*classify(output), environment=machines.environment, log=log)
    encoding = set()
    while job.poll() is None:
        known = titles()
        for node in (machines.head, machines.worker):
            if any("EncodeAndAggregate" in known.get(pid, "") for pid in node.pids()):
                encoding.add(node.name)
        time.sleep(1)
    assert job.returncode == 0, log.read_text()
    assert encoding == {"head", "worker"}
    found = ds.dataset(output, format="parquet").to_table()
    assert found.num_rows == 40
    assert pc.sum(pc.equal(found.column("label"), found.column("working_group"))).as_py() == 39
    wrong = machines.environment | {"RAY_AUTH_TOKEN": "0" * 64}
    refused = machines.caller.start(*list_jobs, environment=wrong, log=log)
    assert refused.wait(SECONDS) != 0
    forwarded.kill()

    down = machines.call("ray", "down", "-y", file)
    assert down.returncode == 0, down.stdout
    # The workers end when they have missed the head for a minute.
    for node in (machines.head, machines.worker):
        wait_until(lambda node=node: not machines.ray_processes(node), f"no Ray on {node.name}")
