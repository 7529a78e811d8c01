# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from local.doctor import models_namespace
from local.doctor.findings import Finding, State
from models.stack import Stack, parse_stack
from tests.local.doctor.fakes import STACK, FakeCluster, by_name, stack


def checked(cluster: FakeCluster, declared: Stack | None = None) -> dict[str, Finding]:
    return by_name(models_namespace.checks(cluster, declared or stack()))


def test_all_is_well_on_the_local_cluster():
    found = checked(FakeCluster())
    assert {it.state for it in found.values()} == {State.OK}
    assert found["artifact credentials"].saw == "Secret artifacts, with an endpoint"
    assert found["server image"].saw == "modelramp.local/server:dev, on modelramp"
    # Pods of ours that run are not counted twice: 2 CPU less 100m of the controller.
    assert found["capacity"].saw == "pods: 2 of biopsy; 1.9 CPU and 23.3 GiB for them on the nodes"


def test_no_value_of_a_secret_is_told():
    said = repr(checked(FakeCluster()))
    secret = FakeCluster().one("Secret")
    values = {*secret["data"].values(), *secret["metadata"]["annotations"].values()} - {"0"}
    assert len(values) == 3
    assert not [value for value in values if value in said]


def test_a_secret_without_an_endpoint_is_for_amazons_s3():
    cluster = FakeCluster()
    cluster.one("Secret")["metadata"].pop("annotations")
    found = checked(cluster)["artifact credentials"]
    assert (found.state, found.saw) == (State.OK, "Secret artifacts, for Amazon's own S3")


def test_a_secret_that_is_gone_or_holds_something_else():
    cluster = FakeCluster()
    cluster.one("Secret")["data"] = {"password": "eA=="}
    found = checked(cluster)["artifact credentials"]
    assert (found.state, found.saw) == (State.WRONG, "no AWS_SECRET_ACCESS_KEY in Secret artifacts")
    cluster.remove("Secret")
    found = checked(cluster)["artifact credentials"]
    assert (found.state, found.saw) == (
        State.MISSING,
        "ServiceAccount default names Secret artifacts: it is gone",
    )


def test_no_credentials_at_all():
    cluster = FakeCluster()
    cluster.one("ServiceAccount").pop("secrets")
    assert checked(cluster)["artifact credentials"].state is State.MISSING
    assert checked(cluster)["artifact credentials"].is_problem
    cluster.remove("ServiceAccount")
    assert checked(cluster)["artifact credentials"].saw == "no ServiceAccount default"


def test_a_role_of_aws_will_do_and_one_bound_outside_cannot_be_seen():
    cluster = FakeCluster()
    cluster.one("ServiceAccount").pop("secrets")
    cluster.one("Node")["spec"]["providerID"] = "aws:///eu-central-1a/i-0123"
    found = checked(cluster)["artifact credentials"]
    assert found.state is State.UNKNOWN
    assert found.is_warning
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}
    cluster.one("ServiceAccount")["metadata"]["annotations"] = role
    found = checked(cluster)["artifact credentials"]
    assert found.state is State.OK
    assert "arn:" not in found.saw


STORE = (
    "config:\n  modelramp:artifacts: {provider: s3-compatible, bucket: models,"
    " endpoint: http://store:7070, prefixes: {biopsy: a}, %s}"
)


def test_a_declared_store_makes_its_own_access_but_for_a_secret_of_others():
    def found(cluster: FakeCluster, how: str):
        text = STACK.replace("s3://m/", "s3://models/a/").replace("config:", STORE % how)
        secrets = "".join(f"  modelramp:{it}: {{secure: x}}\n" for it in ("key", "other"))
        declared = parse_stack(text + secrets, "Pulumi.x.yaml")
        return checked(cluster, declared)["artifact credentials"]

    keys = "credentials: {accessKeySecret: key, secretKeySecret: other}"
    assert found(FakeCluster(), keys).state is State.OK
    cluster = FakeCluster()
    named = "existingSecret: artifacts"
    assert found(cluster, named).state is State.OK
    cluster.one("Secret", "artifacts")["data"].pop("AWS_SECRET_ACCESS_KEY")
    assert found(cluster, named).state is State.WRONG
    cluster.remove("Secret")
    assert found(cluster, named).state is State.MISSING
    cluster.denied.add("Secret")
    assert found(cluster, named).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("labels", "namespace", "state", "saw"),
    [
        ("gateway.envoyproxy.io/owning-gateway-name: models", "edge", State.WRONG, "Envoy in edge"),
        ("app.kubernetes.io/name: prometheus", "metrics", State.WRONG, "Prometheus in metrics"),
        ("app.kubernetes.io/name: prometheus", "monitoring", State.OK, "monitoring"),
        ("app.kubernetes.io/name: grafana", "elsewhere", State.OK, "monitoring"),
    ],
)
def test_whoever_talks_to_models_is_let_in(labels: str, namespace: str, state: State, saw: str):
    cluster = FakeCluster()
    cluster.add(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: {namespace},"
        f" labels: {{{labels}}}}}, spec: {{containers: []}}, status: {{phase: Running}}}}"
    )
    found = checked(cluster)["callers"]
    assert found.state is state
    assert saw in found.saw
    cluster.denied.add("Pod")
    assert checked(cluster)["callers"].state is State.UNKNOWN


def test_an_image_that_no_node_has_may_still_be_pulled():
    cluster = FakeCluster()
    declared = stack("modelramp.local/server:dev", "registry.example.com/server:1")
    found = checked(cluster, declared)["server image"]
    assert found.state is State.UNKNOWN
    assert "registry.example.com/server:1" in found.saw
    assert found.is_warning


def test_an_image_of_the_local_cluster_is_known_nowhere_else():
    cluster = FakeCluster()
    cluster.one("Node")["status"]["images"] = []
    assert checked(cluster)["server image"].state is State.UNKNOWN
    cluster.one("Node")["metadata"]["labels"] = {}
    assert checked(cluster)["server image"].state is State.WRONG


def grow(cluster: FakeCluster, cpu: str, **request: Any) -> None:
    """Has somebody else's pod ask for so much."""
    pod = cluster.one("Pod", "kserve-controller-manager-79c4df857b-srs8h")
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu, **request}}


@pytest.mark.parametrize(
    ("cpu", "memory", "state"),
    [
        ("1", "1Gi", State.OK),
        ("1001m", "1Gi", State.WRONG),
        ("100m", "23Gi", State.WRONG),
        ("100m", "22Gi", State.OK),
    ],
)
def test_pods_must_find_room_beside_others(cpu: str, memory: str, state: State):
    cluster = FakeCluster()
    grow(cluster, cpu, memory=memory)
    found = checked(cluster)["capacity"]
    assert found.state is state
    assert not found.is_problem


def test_what_lacks_is_told():
    cluster = FakeCluster()
    grow(cluster, "1300m")
    found = checked(cluster)["capacity"]
    assert found.saw.startswith("no room for pods: 1 of biopsy; 0.7 CPU and ")


def test_room_is_per_node_and_closed_nodes_have_none():
    cluster = FakeCluster()
    other = {**cluster.one("Node"), "metadata": {"name": "b", "labels": {}}}
    small = {**other, "status": {"allocatable": {"cpu": "600m", "memory": "4Gi"}}}
    tainted = {
        **other,
        "metadata": {"name": "c", "labels": {}},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
    }
    closed = {
        **other,
        "metadata": {"name": "d", "labels": {}},
        "spec": {"unschedulable": True},
    }
    grow(cluster, "1300m")
    cluster.objects += [tainted, closed]
    assert checked(cluster)["capacity"].state is State.WRONG
    cluster.objects.append(small)
    assert checked(cluster)["capacity"].state is State.OK
    assert (checked(cluster, stack("cpu: 500m", "cpu: 800m"))["capacity"].saw).startswith(
        "no room for pods: 2 of biopsy"
    )  # 0.7 and 0.6 CPU: enough only in sum


def test_pods_that_ended_take_no_room():
    cluster = FakeCluster()
    grow(cluster, "2")
    pod = cluster.one("Pod", "kserve-controller-manager-79c4df857b-srs8h")
    pod["status"]["phase"] = "Succeeded"
    assert checked(cluster)["capacity"].state is State.OK


def test_a_service_without_a_rollout_needs_no_room():
    nothing = stack().model_copy(update={"services": {}})
    assert checked(FakeCluster(), nothing)["capacity"].saw == "no service has a rollout yet"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ServiceAccount", {"artifact credentials"}),
        ("Secret", {"artifact credentials"}),
        ("Node", {"server image", "capacity"}),
        ("Pod", {"callers", "capacity"}),
    ],
)
def test_what_cannot_be_read_is_not_known(kind: str, names: set[str]):
    cluster = FakeCluster()
    cluster.denied = {kind}
    found = checked(cluster)
    assert {name for name, it in found.items() if it.state is State.UNKNOWN} == names
