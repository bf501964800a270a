"""The run on a Ray cluster of KubeRay's: its fields, its pods, and that its parts agree."""

import shlex
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ratchet.components.recipe import load_recipe
from tests.infra.test_schemas import INFRA, KUBERNETES
from tests.places import ROOT

RAY_JOB = yaml.safe_load((INFRA / "ray" / "rayjob.yaml").read_text(encoding="utf-8"))
CLUSTER = RAY_JOB["spec"]["rayClusterSpec"]
# Of ray.io/v1 (KubeRay, ray-operator/apis/ray/v1): the fields of each part that this file may use.
SPEC = {
    *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus"),
    *("entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML"),
    *("shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate", "suspend"),
    "ttlSecondsAfterFinished",
}
CLUSTER_SPEC = {
    *("autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "headServiceAnnotations", "rayVersion", "suspend"),
    "workerGroupSpecs",
}
HEAD = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
WORKERS = {"groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "scaleStrategy", "template"}


def groups() -> Iterator[Any]:
    yield CLUSTER["headGroupSpec"]
    yield from CLUSTER["workerGroupSpecs"]


def test_its_fields_are_kuberays() -> None:
    assert (RAY_JOB["apiVersion"], RAY_JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert set(RAY_JOB["spec"]) <= SPEC
    assert set(RAY_JOB["spec"]["submitterConfig"]) <= {"backoffLimit"}
    assert set(CLUSTER) <= CLUSTER_SPEC
    head, *workers = groups()
    assert {"rayStartParams", "template"} <= set(head) <= HEAD
    assert all(
        {"groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"} <= set(one) <= WORKERS for one in workers
    )
    parameters = [value for group in groups() for value in group["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in parameters)


@pytest.mark.parametrize("version", KUBERNETES)
def test_its_pods_fit_kubernetes(version: str) -> None:
    for group in groups():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
        kubernetes_validate.validate(pod, version, strict=True)


def test_the_run_asks_for_as_many_ranks_as_the_workers_have_gpus() -> None:
    verb, *arguments = shlex.split(RAY_JOB["spec"]["entrypoint"])[1:]
    assert verb == "run"
    options = list(zip(arguments[::2], arguments[1::2], strict=True))
    (recipe,) = (value for name, value in options if name == "--recipe")
    launch = load_recipe(ROOT / recipe, [value for name, value in options if name == "--set"]).launch
    containers = [group["template"]["spec"]["containers"][0] for group in CLUSTER["workerGroupSpecs"]]
    devices = [int(container["resources"]["limits"]["nvidia.com/gpu"]) for container in containers]
    replicas = [group["replicas"] for group in CLUSTER["workerGroupSpecs"]]
    assert (launch.kind, launch.address) == ("ray", "auto")
    assert launch.workers == sum(count * number for count, number in zip(devices, replicas, strict=True))
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"  # or a rank would be placed there


def test_all_nodes_have_one_image_one_release_of_ray_and_one_directory() -> None:
    pods = [group["template"]["spec"] for group in groups()]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    assert f"ray=={CLUSTER['rayVersion']}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(
        {"name": "state", "mountPath": "/state"} in pod["containers"][0]["volumeMounts"]
        and pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "ratchet-shared"
        for pod in pods
    )
