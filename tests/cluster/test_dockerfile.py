"""The Dockerfile and what it is given; that it builds, and that a job runs in it, is tried by hand."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "cluster" / "docker" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_it_is_given_what_it_copies_and_nothing_else() -> None:
    first, *given = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith(("#", "**/"))
    ]
    assert first == "*"
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    assert {name.removeprefix("!") for name in given} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_it_copies_all_packages_and_the_files_that_their_metadata_names() -> None:
    copied = " ".join(re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    packages = [pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert {*packages, PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= set(copied)


def test_its_extras_are_ours() -> None:
    extras = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)[0].split(",")
    assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()
    assert "jobs" in extras


def test_dependencies_come_before_code_and_from_the_constraints() -> None:
    commands = re.sub(r"\\\n", " ", DOCKERFILE)
    installs = re.findall(r"pip install [^&\n]+", commands)
    assert all("--constraint constraints.txt" in install or "--no-deps" in install for install in installs)
    assert commands.index(".[${EXTRAS}]") < commands.index("COPY jobs")


def test_it_ends_as_a_user_that_kubernetes_can_tell_is_not_root() -> None:
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert f"useradd --uid {user} " in DOCKERFILE


def test_the_tag_in_its_first_lines_is_this_version() -> None:
    assert f"-t strideformer:{PROJECT['project']['version']} ." in DOCKERFILE.partition("ARG")[0]
