"""cluster/slurm/classify.sbatch as far as it can be read without a Slurm; tests/launchers runs it on one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from jobs.cli import JOBS, parse

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm" / "classify.sbatch"
TEXT = SCRIPT.read_text()


def test_bash_can_read_it() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_every_option_is_one_of_ray_start() -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    # The function that every node runs, and its call for the head.
    starts = re.findall(r"^ray_node\(\).*?^}|^ray_node .*?&$", TEXT, re.MULTILINE | re.DOTALL)
    used = set(re.findall(r"--[a-z-]+", "".join(starts)))
    assert {"--num-cpus", "--num-gpus", "--head"} < used
    assert used <= known


@pytest.mark.parametrize("job", ["classify", "embed"])
def test_what_it_adds_on_a_second_start_wins_over_overwrite(job: str) -> None:
    added = re.search(r"again=\((--.*)\)", TEXT)
    assert added
    settings = parse(job, JOBS[job], ["in", "out", "--model", "m", "--overwrite", *added[1].split()])
    assert settings.resume
    assert not settings.overwrite
