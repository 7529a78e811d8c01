# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from local.doctor import gateway
from local.doctor.findings import Finding, State
from tests.local.doctor.fakes import FakeCluster, by_name, stack


def checked(cluster: FakeCluster) -> dict[str, Finding]:
    declared = stack()
    return by_name(gateway.checks(cluster, declared, gateway.read(cluster, declared)))


def test_all_is_well_on_the_local_cluster():
    found = checked(FakeCluster())
    assert {it.state for it in found.values()} == {State.OK}
    assert found["Gateway API"].saw == "v1.6.1, experimental channel"
    assert found["Gateway"].saw == "gateway/models is Programmed, at 198.18.77.2"


@pytest.mark.parametrize(
    ("version", "channel", "state"),
    [
        ("v1.1.0", "standard", State.WRONG),
        ("v1.1.0", "experimental", State.OK),
        ("v1.2.0", "standard", State.OK),
    ],
)
def test_the_split_needs_a_route_with_timeouts(version: str, channel: str, state: State):
    cluster = FakeCluster()
    annotations = cluster.one("CustomResourceDefinition")["metadata"]["annotations"]
    annotations["gateway.networking.k8s.io/bundle-version"] = version
    annotations["gateway.networking.k8s.io/channel"] = channel
    assert checked(cluster)["Gateway API"].state is state


def test_without_gateway_api_nothing_of_it_is_there():
    cluster = FakeCluster()
    for kind in ("Gateway", "GatewayClass", "HTTPRoute", "CustomResourceDefinition"):
        cluster.remove(kind)
    cluster.kinds -= {"HTTPRoute"}
    found = checked(cluster)
    assert found["Gateway API"].state is State.MISSING
    assert (found["Gateway"].state, found["Gateway"].saw) == (
        State.MISSING,
        "no Gateway gateway/models",
    )
    assert found["listener"].state is State.UNKNOWN
    assert found["gateway controller"].state is State.UNKNOWN


def test_the_version_may_stay_unknown():
    cluster = FakeCluster()
    cluster.denied = {"CustomResourceDefinition"}
    found = checked(cluster)["Gateway API"]
    assert found.state is State.OK
    assert "version not told" in found.saw


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ([{"type": "Programmed", "status": "False", "message": "No addresses"}], "No addresses"),
        ([{"type": "Accepted", "status": "True", "message": "fine"}], "no controller"),
        ([], "no controller"),
    ],
)
def test_a_gateway_that_is_not_programmed(conditions: list[Any], says: str):
    cluster = FakeCluster()
    cluster.one("Gateway")["status"] = {"conditions": conditions}
    found = checked(cluster)["Gateway"]
    assert found.state is State.WRONG
    assert says in found.saw
    assert found.remedy == "kubectl describe gateway --namespace gateway models"


IN_TEAM = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["ml"]}]}
NOT_CLOSED = {
    "matchLabels": {"team": "ml"},
    "matchExpressions": [
        {"key": "closed", "operator": "DoesNotExist"},
        {"key": "team", "operator": "Exists"},
        {"key": "team", "operator": "NotIn", "values": ["web"]},
    ],
}


@pytest.mark.parametrize(
    ("listener", "state"),
    [
        ({}, State.WRONG),
        ({"allowedRoutes": {"namespaces": {"from": "Same"}}}, State.WRONG),
        ({"allowedRoutes": {"namespaces": {"from": "None"}}}, State.WRONG),
        ({"protocol": "TCP", "allowedRoutes": {"namespaces": {"from": "All"}}}, State.WRONG),
        (
            {"allowedRoutes": {"namespaces": {"from": "All"}, "kinds": [{"kind": "GRPCRoute"}]}},
            State.WRONG,
        ),
        ({"protocol": "HTTPS", "allowedRoutes": {"namespaces": {"from": "All"}}}, State.OK),
        ({"allowedRoutes": {"namespaces": {"from": "Selector", "selector": IN_TEAM}}}, State.OK),
        ({"allowedRoutes": {"namespaces": {"from": "Selector", "selector": NOT_CLOSED}}}, State.OK),
        (
            {
                "allowedRoutes": {
                    "namespaces": {
                        "from": "Selector",
                        "selector": {"matchLabels": {"team": "web"}},
                    }
                }
            },
            State.WRONG,
        ),
    ],
)
def test_a_listener_must_take_routes_of_the_models_namespace(
    listener: dict[str, Any], state: State
):
    cluster = FakeCluster()
    cluster.one("Namespace")["metadata"]["labels"] = {"team": "ml"}
    cluster.one("Gateway")["spec"]["listeners"] = [{"name": "a", "protocol": "HTTP"} | listener]
    assert checked(cluster)["listener"].state is state


def test_a_closed_namespace_is_kept_out_by_an_expression():
    cluster = FakeCluster()
    cluster.one("Namespace")["metadata"]["labels"] = {"team": "ml", "closed": "yes"}
    allowed = {"namespaces": {"from": "Selector", "selector": NOT_CLOSED}}
    cluster.one("Gateway")["spec"]["listeners"] = [
        {"name": "a", "protocol": "HTTP", "allowedRoutes": allowed}
    ]
    assert checked(cluster)["listener"].state is State.WRONG


def test_routes_beside_the_gateway_need_no_permission():
    cluster = FakeCluster()
    listeners = cluster.one("Gateway")["spec"]["listeners"]
    listeners[0].pop("allowedRoutes")
    declared = stack("namespace: models", "namespace: gateway")
    found = by_name(gateway.checks(cluster, declared, gateway.read(cluster, declared)))
    assert found["listener"].state is State.OK


def test_a_selector_needs_the_namespaces_labels():
    cluster = FakeCluster()
    cluster.denied = {"Namespace"}
    assert checked(cluster)["listener"].state is State.OK
    allowed = {"namespaces": {"from": "Selector", "selector": IN_TEAM}}
    cluster.one("Gateway")["spec"]["listeners"][0]["allowedRoutes"] = allowed
    assert checked(cluster)["listener"].state is State.UNKNOWN


def test_another_controller_is_a_warning():
    cluster = FakeCluster()
    cluster.one("GatewayClass")["spec"]["controllerName"] = "istio.io/gateway-controller"
    found = checked(cluster)["gateway controller"]
    assert found.state is State.WRONG
    assert found.is_warning
    assert "models/metric_sources" in found.remedy


def test_a_gateway_that_cannot_be_read_is_not_known():
    cluster = FakeCluster()
    cluster.denied = {"Gateway", "HTTPRoute"}
    assert {it.state for it in checked(cluster).values()} == {State.UNKNOWN}
