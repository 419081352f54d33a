"""cluster/slurm/classify.sbatch on a real Slurm of two nodes: what it labels, what it answers, and how it goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.chaos.processes import titles
from tests.launchers import nodes, slurm
from tests.launchers.slurm import ROOT, SCRIPT, Slurm, wait_until

DATA = ROOT / "tests" / "data"
SAMPLE = DATA / "rfc-sample" / "rfcs.parquet"
DOCUMENTS = 40
RIGHT = 39  # as in `make demo`
GOES_ON = "stopped by SIGTERM; the same command with --resume goes on"

REASON = nodes.missing() or slurm.missing()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=str(REASON)), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """In a folder with a short name, for Ray's sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
    with nodes.Nodes(folder, ["node1", "node2"]) as two:
        yield Slurm(two, folder)
    left = [node.name for node in two.nodes if node.pids()]
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def output(cluster: Slurm, request: pytest.FixtureRequest) -> Path:
    return cluster.folder / request.node.name


@dataclass
class Watched:
    """What was seen of a job while it ran."""

    tokens: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    nodes_with_encoders: set[str] = field(default_factory=set)
    files_with_token: set[Path] = field(default_factory=set)


def classify(output: Path, *more: str) -> list[str | Path]:
    """The script and the job's arguments."""
    columns = ["--id-column", "doc_id", "--keep-columns", "label:working_group"]
    return [SCRIPT, SAMPLE, output, "--model", DATA / "rfc-model", *columns, *more]


def rows(output: Path) -> tuple[int, int]:
    """How many documents have a label, and how many the right one."""
    found = ds.dataset(output, format="parquet").to_table()
    assert len(set(found.column("doc_id").to_pylist())) == found.num_rows
    return found.num_rows, pc.sum(pc.equal(found.column("label"), found.column("working_group"))).as_py()


def parts(output: Path) -> list[Path]:
    return list(output.glob("part-*.parquet"))


def wait_for_a_part(cluster: Slurm, job: str, output: Path) -> None:
    wait_until(lambda: parts(output) or cluster.job(job)["JobState"] in slurm.ENDED, "the first part")
    assert cluster.job(job)["JobState"] == "RUNNING", cluster.log(job)


def ended(job: dict[str, str]) -> tuple[str, str]:
    return job["JobState"], job["ExitCode"]


def watch(cluster: Slurm, job: str) -> Watched:
    """Look at the job's processes and files until it ends."""
    seen = Watched()
    while cluster.job(job)["JobState"] not in slurm.ENDED:
        known = titles()
        for node in cluster.nodes:
            for pid in node.pids():
                title = known.get(pid, "")
                seen.titles.add(title)
                if "EncodeAndAggregate" in title:
                    seen.nodes_with_encoders.add(node.name)
                if "/raylet/raylet " in title:
                    seen.tokens |= token_of(pid)
        for token in seen.tokens:
            seen.files_with_token |= set(files_with(token, cluster.folder))
        time.sleep(1)
    for token in seen.tokens:
        seen.files_with_token |= set(files_with(token, cluster.folder))
    return seen


def token_of(pid: int) -> set[str]:
    try:
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    except OSError:
        return set()
    return {variable.partition("=")[2] for variable in variables if variable.startswith("RAY_AUTH_TOKEN=")}


def files_with(words: str, folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            try:
                if path.is_file() and words.encode() in path.read_bytes():
                    yield path
            except OSError:  # gone by now
                continue


def test_both_nodes_label_the_sample_and_the_token_is_nowhere(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", *classify(output))
    seen = watch(cluster, job)
    assert ended(cluster.job(job)) == ("COMPLETED", "0:0"), cluster.log(job)
    assert rows(output) == (DOCUMENTS, RIGHT)
    assert seen.nodes_with_encoders == {"node1", "node2"}
    # Of each node's two CPUs the job was given one.
    assert "Ray: 1 CPUs and 0 GPUs, 1 CPUs and 0 GPUs\n" in cluster.log(job)
    (token,) = seen.tokens
    assert len(token) == 64
    assert not [title for title in seen.titles if token in title]
    assert not seen.files_with_token
    assert not list((cluster.folder / "ray").iterdir())


def test_a_wrong_call_ends_with_2(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", *classify(output, "--stride", "-1"))
    assert ended(cluster.wait(job)) == ("FAILED", "2:0"), cluster.log(job)
    assert "stride" in cluster.log(job)


def test_a_node_where_ray_cannot_start_ends_with_1(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=1", *classify(output), environment={"RAY_TMPDIR": str(SAMPLE)})
    assert ended(cluster.wait(job)) == ("FAILED", "1:0"), cluster.log(job)
    assert "set RAY_TMPDIR" in cluster.log(job)


def test_two_jobs_share_their_nodes(cluster: Slurm, output: Path) -> None:
    outputs = [output.with_suffix(f".{number}") for number in (1, 2)]
    jobs = [cluster.submit("--nodes=2", *classify(output)) for output in outputs]
    wait_until(lambda: all(parts(output) for output in outputs), "both label at once")
    assert [cluster.job(job)["JobState"] for job in jobs] == ["RUNNING", "RUNNING"]
    for job, output in zip(jobs, outputs, strict=True):
        assert ended(cluster.wait(job)) == ("COMPLETED", "0:0"), cluster.log(job)
        assert rows(output) == (DOCUMENTS, RIGHT)


def test_gpus_are_those_that_slurm_gave(cluster: Slurm, output: Path) -> None:
    # There are none to compute on; an encoder that is not told of them takes the CPU.
    job = cluster.submit("--nodes=2", "--cpus-per-task=2", "--gpus-per-node=1", *classify(output, "--device", "cpu"))
    assert ended(cluster.wait(job)) == ("COMPLETED", "0:0"), cluster.log(job)
    assert "Ray: 2 CPUs and 1 GPUs, 2 CPUs and 1 GPUs\n" in cluster.log(job)


def test_sigterm_says_how_to_go_on(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", *classify(output))
    wait_for_a_part(cluster, job, output)
    cluster.ask("scancel", "--batch", "--signal=TERM", job)
    assert ended(cluster.wait(job)) == ("FAILED", "1:0"), cluster.log(job)
    assert GOES_ON in cluster.log(job)
    job = cluster.submit("--nodes=2", *classify(output, "--resume"))
    assert ended(cluster.wait(job)) == ("COMPLETED", "0:0"), cluster.log(job)
    assert rows(output) == (DOCUMENTS, RIGHT)


def test_a_time_limit_says_how_to_go_on(cluster: Slurm, output: Path) -> None:
    script, _, *rest = classify(output)
    sample, corpus = pq.read_table(SAMPLE), cluster.folder / "long.parquet"
    pq.write_table(pa.concat_tables([sample] * 20), corpus)  # on two cores, for longer than the limit
    # Slurm sends the signal up to a minute before the time that is asked for: 30 to 90 seconds after the start.
    job = cluster.submit("--nodes=2", "--time=2", "--signal=B:TERM@30", script, corpus, *rest)
    assert ended(cluster.wait(job)) == ("FAILED", "1:0"), cluster.log(job)
    assert GOES_ON in cluster.log(job)


def test_a_cancelled_job_leaves_nothing_running(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", *classify(output))
    wait_for_a_part(cluster, job, output)
    cluster.ask("scancel", job)
    assert cluster.wait(job)["JobState"] == "CANCELLED"
    wait_until(lambda: not list((cluster.folder / "ray").iterdir()), "Ray's folders are gone")
    known = titles()
    assert not [pid for node in cluster.nodes for pid in node.pids() if "/ray/core/" in known.get(pid, "")]


def test_a_requeued_job_goes_on(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", *classify(output, "--overwrite"))
    wait_for_a_part(cluster, job, output)
    before = {path: path.stat().st_mtime_ns for path in parts(output)}
    cluster.ask("scontrol", "requeue", job)
    wait_until(lambda: cluster.job(job)["Restarts"] == "1", "the requeue")
    found = cluster.wait(job)
    assert ended(found) == ("COMPLETED", "0:0"), cluster.log(job)
    assert rows(output) == (DOCUMENTS, RIGHT)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_a_preempted_job_stops_in_time_and_goes_on(cluster: Slurm, output: Path) -> None:
    job = cluster.submit("--nodes=2", "--cpus-per-task=2", *classify(output))
    wait_for_a_part(cluster, job, output)
    urgent = cluster.submit("--nodes=2", "--partition=urgent", "--cpus-per-task=2", "--wrap=sleep 5")
    wait_until(lambda: cluster.job(urgent)["JobState"] == "COMPLETED", "the job that preempts")
    assert GOES_ON in cluster.log(job)
    assert cluster.job(job)["JobState"] != "COMPLETED"
    assert ended(cluster.wait(job)) == ("COMPLETED", "0:0"), cluster.log(job)
    assert rows(output) == (DOCUMENTS, RIGHT)
