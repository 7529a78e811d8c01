# pyright: basic
from __future__ import annotations

import pytest

from local.doctor import asked_for
from local.doctor.findings import Finding, State
from models.stack import parse_stack
from tests.local.doctor.fakes import STACK, FakeCluster, by_name

MLFLOW = "{kind: mlflow, cpu: 500m, memory: 768Mi}"


def checked(runtime: str, cluster: FakeCluster | None = None, more: str = "") -> dict[str, Finding]:
    text = STACK.replace(MLFLOW, runtime).replace(", accuracy: 0.9", "")
    declared = parse_stack(text.replace("config:", f"config:\n{more}"), "Pulumi.x.yaml")
    return by_name(asked_for.checks(cluster or FakeCluster(), declared))


def test_nothing_is_asked_for_by_a_plain_stack():
    assert {it.saw for it in checked(MLFLOW).values()} == {"not asked for"}
    assert {it.state for it in checked(MLFLOW).values()} == {State.OK}


def test_a_runtime_that_a_service_names_has_to_be_there():
    cluster = FakeCluster()
    found = checked("{kind: triton}", cluster)["runtimes of KServe"]
    assert (found.state, found.saw) == (State.MISSING, "kserve-tritonserver (of biopsy)")
    cluster.add(
        "{apiVersion: serving.kserve.io/v1alpha1, kind: ClusterServingRuntime,"
        " metadata: {name: kserve-tritonserver}}"
    )
    assert checked("{kind: triton}", cluster)["runtimes of KServe"].state is State.OK
    cluster.denied.add("ClusterServingRuntime")
    assert checked("{kind: triton}", cluster)["runtimes of KServe"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("scaling", "name", "kind"),
    [
        ("{max: 3, metric: cpu}", "resource metrics", "PodMetrics"),
        ("{max: 3, metric: requests, target: 4}", "KEDA", "ScaledObject"),
    ],
)
def test_what_scales_has_to_be_there(scaling: str, name: str, kind: str):
    runtime = f"{{kind: mlflow, scaling: {scaling}}}"
    cluster = FakeCluster()
    assert checked(runtime, cluster)[name].state is State.MISSING
    cluster.kinds.add(kind)
    assert checked(runtime, cluster)[name].state is State.OK
    cluster.denied.add(kind)
    assert checked(runtime, cluster)[name].state is State.UNKNOWN


def test_karpenter_has_to_be_there_for_its_pools():
    more = (
        "  modelramp:aws: {region: eu-central-1, eks: {cluster: prod}}\n"
        "  modelramp:gpuPools:\n"
        "    l4: {provider: karpenter, instanceFamilies: [g6], maxGpus: 4, ami: al2023@v20260810}"
    )
    found = checked(MLFLOW, more=more)["Karpenter"]
    assert (found.state, found.saw) == (State.MISSING, "no NodePool, asked for by l4")
