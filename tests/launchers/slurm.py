"""A real Slurm of two nodes: munged, slurmctld and a slurmd each, of Debian's packages, as root and out of one folder.

Each node is said to have two CPUs and two GPUs, whatever this machine has: Slurm gives them out, and whether a job's
Ray goes by that is what is to be seen.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.launchers.nodes import Nodes

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "classify.sbatch"
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
MUNGE_FILES = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "PREEMPTED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
)
PATH = f"{os.environ['PATH']}:/usr/sbin"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={first}({first_address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts once its old credential is void: by default, after two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdDebug=debug
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
KillWait=20
GresTypes=gpu
NodeName={first} NodeAddr={first_address} CPUs=2 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
NodeName={second} NodeAddr={second_address} CPUs=2 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str | None:
    """What of Slurm is not installed, or None."""
    absent = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    return f"needs {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)" if absent else None


def wait_until(met: Callable[[], object], what: str, seconds: float = 300.0) -> None:
    """Look twice a second.

    Raises:
        TimeoutError: it is not so in that time.
    """
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {seconds:g} s: {what}")
        time.sleep(0.5)


class Slurm:
    """On these nodes, until they are stopped.

    Attributes:
        folder: of all that it writes; ``logs`` in it has the jobs' logs, ``ray`` the nodes' Ray folders, and ``home``
            is the jobs' home folder.
    """

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.nodes = nodes.nodes
        self.folder = folder
        first, second = self.nodes
        for name in ("state", "logs", "ray", "home"):
            (folder / name).mkdir()
        configuration = folder / "slurm.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                first=first.name,
                second=second.name,
                first_address=first.address,
                second_address=second.address,
            )
        )
        # Slurm wants GPUs to be files, and does not ask what is in them.
        (folder / "gres.conf").write_text("".join(f"Name=gpu File={folder}/gpu{number}\n" for number in (0, 1)))
        for number in (0, 1):
            (folder / f"gpu{number}").touch()
        (folder / "cgroup.conf").touch()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        self.environment = kept | {
            "PATH": PATH,
            "SLURM_CONF": str(configuration),
            "HOME": str(folder / "home"),
            "RAY_TMPDIR": str(folder / "ray"),
            "STRIDEFORMER_VENV": sys.prefix,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "HF_HUB_OFFLINE": "1",
        }
        munge = [f"--{name}={folder}/munge.{suffix}" for name, suffix in MUNGE_FILES.items()]
        first.start("munged", "--foreground", "--force", *munge, **self._daemon("munged"))
        wait_until((folder / "munge.socket").exists, "munged")
        first.start("slurmctld", "-D", **self._daemon("slurmctld"))
        for node in self.nodes:
            node.start("slurmd", "-D", "-N", node.name, **self._daemon(f"slurmd-{node.name}"))
        wait_until(self._is_up, f"two idle nodes; logs in {folder}", 60)

    def submit(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> str:
        """``sbatch`` with these arguments; the job's id."""
        log = self.folder / "logs" / "%j.log"
        command = ["sbatch", "--parsable", f"--output={log}", *map(str, arguments)]
        return self.ask(*command, environment=environment).strip()

    def ask(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """One of Slurm's commands, on the first node."""
        return self.nodes[0].run(*command, environment=self.environment | (environment or {}))

    def job(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says: JobState, ExitCode, Restarts, …"""
        return dict(
            word.split("=", 1) for word in self.ask("scontrol", "show", "job", "-o", job).split() if "=" in word
        )

    def log(self, job: str) -> str:
        path = self.folder / "logs" / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, job: str, seconds: float = 400.0) -> dict[str, str]:
        """Until it has ended, whichever way."""
        wait_until(lambda: self.job(job)["JobState"] in ENDED, f"the end of job {job}", seconds)
        return self.job(job)

    def _is_up(self) -> bool:
        try:
            return self.ask("sinfo", "--noheader", "-p", "main", "-o", "%t %D").split() == ["idle", "2"]
        except RuntimeError:
            return False

    def _daemon(self, name: str) -> dict[str, object]:
        return {"environment": self.environment, "log": self.folder / f"{name}.out"}
