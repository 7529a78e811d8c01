# pyright: basic
from __future__ import annotations

import pytest

from local.doctor import kserve
from local.doctor.findings import Finding, State
from tests.local.doctor.fakes import FakeCluster, by_name, stack


def checked(cluster: FakeCluster) -> dict[str, Finding]:
    return by_name(kserve.checks(cluster, stack()))


def image(cluster: FakeCluster, name: str) -> None:
    pod = cluster.one("Deployment")["spec"]["template"]["spec"]
    pod["containers"].insert(0, {"name": "proxy", "image": "proxy:v0.1.0"})
    pod["containers"][1]["image"] = name


def test_all_is_well_on_the_local_cluster():
    found = checked(FakeCluster())
    assert {it.state for it in found.values()} == {State.OK}
    assert found["KServe version"].saw == "0.20.0"


def test_without_kserve_everything_of_it_is_missing():
    cluster = FakeCluster()
    cluster.remove("Deployment")
    cluster.remove("ConfigMap")
    cluster.kinds -= {"ServingRuntime"}
    found = checked(cluster)
    assert (found["KServe definitions"].state, found["KServe definitions"].saw) == (
        State.MISSING,
        "no ServingRuntime",
    )
    assert found["KServe controller"].state is State.MISSING
    assert found["KServe version"].state is State.UNKNOWN
    assert found["Standard mode"].state is State.MISSING


def test_a_controller_without_an_available_pod():
    cluster = FakeCluster()
    cluster.one("Deployment")["status"] = {"replicas": 1, "unavailableReplicas": 1}
    assert checked(cluster)["KServe controller"].state is State.WRONG


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("registry.example/kserve/kserve-controller:v0.20.0", State.OK),
        ("kserve/kserve-controller:v0.21.0-rc0", State.OK),
        ("kserve/kserve-controller:v1.0.0", State.OK),
        ("kserve/kserve-controller:v0.15.2", State.WRONG),
        ("kserve/kserve-controller:latest", State.UNKNOWN),
        ("kserve/kserve-controller@sha256:0123", State.UNKNOWN),
    ],
)
def test_the_version_is_that_of_the_controllers_image(name: str, state: State):
    cluster = FakeCluster()
    image(cluster, name)
    assert checked(cluster)["KServe version"].state is state


def test_where_the_image_does_not_tell_the_version_the_label_does():
    cluster = FakeCluster()
    image(cluster, "kserve/kserve-controller@sha256:0123")
    cluster.one("Deployment")["metadata"]["labels"]["app.kubernetes.io/version"] = "v0.19.1"
    found = checked(cluster)["KServe version"]
    assert (found.state, found.saw) == (State.WRONG, "0.19.1")


def test_the_configuration_is_read_where_the_controller_lies():
    cluster = FakeCluster()
    for kind in ("Deployment", "ConfigMap"):
        cluster.one(kind)["metadata"]["namespace"] = "opendatahub"
    data = cluster.one("ConfigMap")["data"]
    data["deploy"] = '{"defaultDeploymentMode": "Knative"}'
    data["ingress"] = '{"disableIngressCreation": false}'
    found = checked(cluster)["Standard mode"]
    assert found.state is State.OK
    assert found.saw.startswith("default Knative, ours ask for Standard")
    assert "none for ours" in found.saw
    data["deploy"] = "{}"
    assert checked(cluster)["Standard mode"].state is State.WRONG


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            (
                "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: x, "
                "namespace: models}, spec: {rules: [{backendRefs: [{name: other}, "
                "{name: biopsy-v3-0-0-predictor}]}]}}"
            ),
            "HTTPRoute x leads to biopsy-v3-0-0",
        ),
        (  # a copy of ours under another name
            (
                "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: y, "
                "namespace: models, annotations: {modelramp.dev/service: biopsy}}, spec: {rules: "
                "[{filters: [{requestMirror: {backendRef: {name: biopsy-v2-0-0-predictor}}}]}]}}"
            ),
            "HTTPRoute y leads to biopsy-v2-0-0",
        ),
        (
            (
                "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x, namespace: "
                "models}, spec: {rules: [{http: {paths: [{backend: {service: {name: "
                "biopsy-v2-0-0-predictor, port: {number: 80}}}}]}}]}}"
            ),
            "Ingress x leads to biopsy-v2-0-0",
        ),
        (
            (
                "{apiVersion: networking.istio.io/v1beta1, kind: VirtualService, metadata: "
                "{name: x, namespace: models}, spec: {http: [{route: [{destination: {host: "
                "biopsy-v2-0-0-predictor.models.svc.cluster.local}}]}]}}"
            ),
            "VirtualService x leads to biopsy-v2-0-0",
        ),
    ],
)
def test_a_route_past_the_split_is_named(text: str, says: str):
    cluster = FakeCluster()
    cluster.add(text)
    found = checked(cluster)["no bypass"]
    assert (found.state, found.saw) == (State.WRONG, says)


def test_routes_to_other_services_are_nobodys_business():
    cluster = FakeCluster()
    cluster.add(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: x, namespace:"
        " models}, spec: {rules: [{backendRefs: [{name: biopsy-v9-0-0-predictor}]}]}}"
    )
    assert checked(cluster)["no bypass"].state is State.OK


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("InferenceService", {"KServe definitions"}),
        ("Deployment", {"KServe controller", "KServe version"}),
        ("ConfigMap", {"Standard mode"}),
        ("Ingress", {"no bypass"}),
    ],
)
def test_what_cannot_be_read_is_not_known(kind: str, names: set[str]):
    cluster = FakeCluster()
    cluster.denied = {kind}
    found = checked(cluster)
    assert {name for name, it in found.items() if it.state is State.UNKNOWN} == names
    assert all(found[name].is_problem for name in names)
