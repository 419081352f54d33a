"""The manifests of cluster/kuberay: the job that they start is a call of ours, and their parts agree with one another.

That KubeRay and Kubernetes take them was checked by hand against their schemas: see cluster/kuberay/README.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import cli
from jobs.settings import ClassifySettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
MANIFESTS = ["rayjob.yaml", "rayjob-cpu.yaml"]
UNITS = {"Gi": 1 << 30, "Mi": 1 << 20}
SECRET = re.compile("secret|token|passw|key|credential", re.IGNORECASE)


def documents(name: str) -> dict[str, Any]:
    """The documents of a manifest by their kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))}


@pytest.fixture(params=MANIFESTS)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return documents(request.param)


@pytest.fixture
def job(manifest: dict[str, Any]) -> dict[str, Any]:
    """The specification of a manifest's RayJob."""
    return manifest["RayJob"]["spec"]


def groups(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    yield from (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(group["template"]["spec"] for group in groups(job)), job["submitterPodTemplate"]["spec"]]


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for pod in pods(job) for container in pod["containers"]]


def size(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_the_entrypoint_is_a_call_of_ours_that_goes_on_when_it_is_made_again(job: dict[str, Any]) -> None:
    python, flag, module, *arguments = shlex.split(job["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "jobs.classify")
    settings = cli.parse("classify", ClassifySettings, arguments)
    assert settings.resume
    assert not settings.overwrite
    assert all(path.startswith("s3://") for path in (*settings.inputs, settings.output, settings.model))
    assert not any(character in job["entrypoint"] for character in "$`\n"), "two shells read it before Python does"
    assert job["backoffLimit"] > 0


def test_every_pod_has_one_image_of_this_version(job: dict[str, Any]) -> None:
    (image,) = {container["image"] for container in containers(job)}
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert image.rpartition(":")[2] == version[1]


def test_the_version_of_ray_is_the_one_that_is_installed_in_the_image(job: dict[str, Any]) -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in pinned


def test_the_head_only_schedules(job: dict[str, Any]) -> None:
    head, *workers = groups(job)
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert not any(name in group["rayStartParams"] for group in workers for name in ("num-cpus", "num-gpus"))


def test_what_is_asked_for_is_all_that_may_be_used(job: dict[str, Any]) -> None:
    for container in containers(job):
        assert container["resources"]["limits"] == container["resources"]["requests"]


@pytest.mark.parametrize(("name", "gpus"), [("rayjob.yaml", ["1"]), ("rayjob-cpu.yaml", [])])
def test_workers_alone_have_gpus(name: str, gpus: list[str]) -> None:
    limits = [container["resources"]["limits"] for container in containers(documents(name)["RayJob"]["spec"])]
    assert [limit["nvidia.com/gpu"] for limit in limits if "nvidia.com/gpu" in limit] == gpus


def test_the_object_store_has_room_in_shared_memory(job: dict[str, Any]) -> None:
    for group in groups(job):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
        shared = volumes[mounts(container)["/dev/shm"]]
        assert shared["medium"] == "Memory"
        store = int(group["rayStartParams"]["object-store-memory"])
        memory = size(container["resources"]["limits"]["memory"])
        assert store <= size(shared["sizeLimit"]) < memory / 2, "both are the container's memory"


def test_no_group_grows_without_an_autoscaler(job: dict[str, Any]) -> None:
    assert "enableInTreeAutoscaling" not in job["rayClusterSpec"]
    for group in job["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


def test_the_lines_for_a_cluster_that_grows_fit_where_they_stand() -> None:
    text = (FOLDER / "rayjob.yaml").read_text(encoding="utf-8")
    grows = re.sub(r"^    # (enableInTreeAutoscaling|autoscalerOptions):", r"    \1:", text, flags=re.MULTILINE)
    cluster = list(yaml.safe_load_all(grows))[1]["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["securityContext"]["readOnlyRootFilesystem"]


def test_no_secret_is_written_down(manifest: dict[str, Any], job: dict[str, Any]) -> None:
    assert manifest.keys() == {"ServiceAccount", "RayJob"}
    for container in containers(job):
        for variable in container.get("env", []):
            assert not SECRET.search(variable["name"]) or "valueFrom" in variable
        for source in container.get("envFrom", []):
            assert source.keys() == {"secretRef"}
    assert not SECRET.search(job["entrypoint"])
    assert "runtimeEnvYAML" not in job, "everybody who may list the jobs sees it"


def test_the_cluster_asks_for_a_token(job: dict[str, Any]) -> None:
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_pods_may_do_little(job: dict[str, Any]) -> None:
    (user,) = re.findall(r"^USER (.+)$", (ROOT / "cluster/docker/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for pod in pods(job):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(user) != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts(pod["containers"][0]).values())
    for container in containers(job):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert "/tmp" in mounts(container), "Ray's own folder, and the copy of the model"


def test_the_service_account_is_the_one_that_the_pods_have(manifest: dict[str, Any], job: dict[str, Any]) -> None:
    account = manifest["ServiceAccount"]["metadata"]["name"]
    assert all(group["template"]["spec"]["serviceAccountName"] == account for group in groups(job))


def test_the_two_manifests_differ_in_their_workers_alone() -> None:
    gpu, cpu = map(documents, MANIFESTS)
    for each in (gpu, cpu):
        (worker,) = each["RayJob"]["spec"]["rayClusterSpec"].pop("workerGroupSpecs")
        assert worker["template"]["spec"]["containers"][0]["name"] == "ray-worker"
    assert gpu == cpu
