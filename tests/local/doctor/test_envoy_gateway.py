# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from local.doctor import envoy_gateway, gateway
from local.doctor.findings import Finding, State
from models.stack import Stack
from tests.local.doctor.fakes import FakeCluster, by_name, stack


def checked(cluster: FakeCluster, declared: Stack | None = None) -> dict[str, Finding]:
    declared = declared or stack()
    way = gateway.read(cluster, declared)
    return by_name(envoy_gateway.checks(cluster, declared, way))


def bootstrap(cluster: FakeCluster, content: dict[str, Any]) -> None:
    cluster.one("EnvoyProxy")["spec"]["bootstrap"] = content


def test_all_is_well_on_the_local_cluster():
    found = checked(FakeCluster())
    assert len(found) == 6
    assert {it.state for it in found.values()} == {State.OK}


def test_of_another_controller_nothing_is_said():
    cluster = FakeCluster()
    cluster.one("GatewayClass")["spec"]["controllerName"] = "istio.io/gateway-controller"
    assert checked(cluster) == {}


def test_without_merged_backends_versions_are_not_counted_apart():
    cluster = FakeCluster()
    cluster.one("EnvoyProxy")["spec"]["mergeBackends"] = {"selector": {"matchLabels": {"a": "b"}}}
    assert checked(cluster)["counts per version"].state is State.WRONG
    cluster.one("EnvoyProxy")["spec"].pop("mergeBackends")
    found = checked(cluster)["counts per version"]
    assert (found.state, found.saw) == (
        State.WRONG,
        "EnvoyProxy gateway/models has no mergeBackends",
    )
    assert found.is_problem


def test_the_proxys_settings_may_be_the_classes():
    cluster = FakeCluster()
    cluster.one("Gateway")["spec"].pop("infrastructure")
    assert checked(cluster)["counts per version"].state is State.MISSING
    reference = {"kind": "EnvoyProxy", "name": "models", "namespace": "gateway"}
    cluster.one("GatewayClass")["spec"]["parametersRef"] = reference
    assert checked(cluster)["counts per version"].state is State.OK


@pytest.mark.parametrize(
    ("target", "state"),
    [
        ("targetRefs: [{kind: HTTPRoute, name: biopsy}]", State.WRONG),
        ("targetRef: {kind: HTTPRoute, name: biopsy}", State.WRONG),
        ("targetSelectors: [{kind: HTTPRoute, matchLabels: {team: ml}}]", State.WRONG),
        ("targetSelectors: [{kind: HTTPRoute, matchLabels: {team: web}}]", State.OK),
        ("targetRefs: [{kind: HTTPRoute, name: other}]", State.OK),
        ("targetRefs: [{kind: GRPCRoute, name: biopsy}]", State.OK),
    ],
)
def test_a_policy_on_our_route_undoes_it_all(target: str, state: State):
    cluster = FakeCluster()
    cluster.one("HTTPRoute")["metadata"]["labels"] = {"team": "ml"}
    cluster.add(
        "{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, "
        f"metadata: {{name: p, namespace: models}}, spec: {{{target}}}}}"
    )
    assert checked(cluster)["policies on routes"].state is state


PATH = "/stats_config/histogram_bucket_settings"


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"match": {"suffix": "upstream_rq_time"}, "buckets": [1, 400]}, State.OK),
        ({"match": {"contains": "rq_time"}, "buckets": [1, 400]}, State.OK),
        ({"match": {"prefix": "cluster."}, "buckets": [1, 400]}, State.OK),
        (
            {"match": {"safe_regex": {"regex": ".*rq_time"}}, "buckets": [1, 400]},
            State.OK,
        ),
        ({"match": {"suffix": "upstream_rq_time"}, "buckets": [1, 500]}, State.WRONG),
        # It matches nothing of ours, so the default edges hold, and 400 is none of them.
        ({"match": {"prefix": "listener."}, "buckets": [1, 400]}, State.WRONG),
        ({"match": {"exact": "cluster.a.upstream_rq_time"}, "buckets": [1, 400]}, State.WRONG),
    ],
)
def test_each_threshold_must_be_an_edge(settings: dict[str, Any], state: State):
    cluster = FakeCluster()
    patch = {"op": "add", "path": PATH, "value": [settings]}
    bootstrap(cluster, {"type": "JSONPatch", "jsonPatches": [patch]})
    assert checked(cluster)["latency edges"].state is state


def test_the_first_setting_that_matches_holds():
    cluster = FakeCluster()
    first = {"match": {"suffix": "rq_time"}, "buckets": [1]}
    second = {"match": {"suffix": "rq_time"}, "buckets": [400]}
    patch = {"op": "add", "path": PATH, "value": [first, second]}
    bootstrap(cluster, {"type": "JSONPatch", "jsonPatches": [patch]})
    found = checked(cluster)["latency edges"]
    assert found.saw == "no edge at 400 ms of biopsy; there are 1"


def test_without_a_bootstrap_envoys_defaults_hold():
    cluster = FakeCluster()
    cluster.one("EnvoyProxy")["spec"].pop("bootstrap")
    found = checked(cluster)
    assert "1, 5, 10, 25, 50, 100, 250, 500" in found["latency edges"].saw
    assert found["flush of latency"].saw.startswith("every 5 s, as by default; judge.interval of")
    assert checked(cluster, stack("thresholdMs: 400", "thresholdMs: 250"))[
        "latency edges"
    ].state is (State.OK)


def test_a_bootstrap_may_be_merged_yaml():
    cluster = FakeCluster()
    text = (
        "stats_flush_interval: 0.5s\nstats_config: {histogram_bucket_settings: "
        "[{match: {suffix: rq_time}, buckets: [400]}]}"
    )
    bootstrap(cluster, {"type": "Merge", "value": text})
    found = checked(cluster)
    assert found["latency edges"].state is State.OK
    assert found["flush of latency"].saw == "every 0.5 s"
    bootstrap(cluster, {"type": "Merge", "value": "a: [b"})
    assert checked(cluster)["latency edges"].state is State.UNKNOWN


def test_a_patch_that_is_not_understood_is_not_guessed():
    cluster = FakeCluster()
    patch = {"op": "add", "path": f"{PATH}/0/buckets", "value": [400]}
    bootstrap(cluster, {"type": "JSONPatch", "jsonPatches": [patch]})
    assert checked(cluster)["latency edges"].state is State.UNKNOWN


@pytest.mark.parametrize(("interval", "state"), [("2s", State.OK), ("1900ms", State.WRONG)])
def test_latency_is_flushed_twice_in_an_interval(interval: str, state: State):
    found = checked(FakeCluster(), stack("interval: 2s", f"interval: {interval}"))
    assert found["flush of latency"].state is state
    assert not found["flush of latency"].is_problem


def test_retries_are_wished_for_on_the_gateway():
    cluster = FakeCluster()
    cluster.one("BackendTrafficPolicy")["spec"].pop("retry")
    found = checked(cluster)["retries"]
    assert found.state is State.MISSING
    assert found.is_warning
    cluster.one("BackendTrafficPolicy")["spec"]["retry"] = {"numRetries": 3}
    assert checked(cluster)["retries"].saw == "3 on defaults"
    cluster.one("BackendTrafficPolicy")["spec"] |= {
        "targetRefs": [{"kind": "Gateway", "name": "another"}],
    }
    assert checked(cluster)["retries"].state is State.MISSING


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ({"requestID": "Preserve"}, State.OK),
        ({"preserveXRequestID": True}, State.OK),
        ({"requestID": "Generate"}, State.WRONG),
        ({}, State.MISSING),
    ],
)
def test_labels_need_the_clients_request_id(headers: dict[str, Any], state: State):
    cluster = FakeCluster()
    cluster.one("ClientTrafficPolicy")["spec"]["headers"] = headers
    assert checked(cluster)["request ids"].state is state


def test_without_accuracy_no_request_id_is_needed():
    assert "request ids" not in checked(FakeCluster(), stack(", accuracy: 0.9", ""))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("EnvoyProxy", {"counts per version", "latency edges", "flush of latency"}),
        ("BackendTrafficPolicy", {"policies on routes", "retries"}),
        ("HTTPRoute", {"policies on routes"}),
        ("ClientTrafficPolicy", {"request ids"}),
    ],
)
def test_what_cannot_be_read_is_not_known(kind: str, names: set[str]):
    cluster = FakeCluster()
    cluster.denied = {kind}
    found = checked(cluster)
    assert {name for name, it in found.items() if it.state is State.UNKNOWN} == names
