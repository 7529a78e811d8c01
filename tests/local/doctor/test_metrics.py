# pyright: basic
from __future__ import annotations

import time

import pytest

from local.doctor import metrics
from local.doctor.findings import Finding, State, Unreadable
from models.stack import Stack
from tests.local.doctor.fakes import FakeCluster, FakeMetrics, by_name, stack

SILENT = Unreadable("it does not answer", "forward its port")
ROUTED = "envoy_cluster_upstream_rq_total{envoy_cluster_name="
DECLARED = 'modelramp:declared_percent{namespace="models"}'


def checked(
    prometheus: FakeMetrics | None = None,
    cluster: FakeCluster | None = None,
    declared: Stack | None = None,
) -> dict[str, Finding]:
    cluster, prometheus = cluster or FakeCluster(), prometheus or FakeMetrics(time.time)
    return by_name(metrics.checks(cluster, prometheus, declared or stack()))


def test_all_is_well_on_the_local_cluster():
    found = checked()
    assert {it.state for it in found.values()} == {State.OK}
    assert found["Prometheus"].saw == "3.16.0 at http://prometheus"
    assert found["scrape interval"].saw == "every 1 s"
    assert found["versions are counted"].saw == "biopsy 2.0.0, biopsy 3.0.0"


def test_a_prometheus_that_does_not_answer():
    prometheus = FakeMetrics(time.time)
    prometheus.answers = dict.fromkeys(prometheus.answers, SILENT)
    found = checked(prometheus)
    assert (found["Prometheus"].state, found["Prometheus"].saw) == (State.MISSING, SILENT.why)
    assert "docs/clusters.md#prometheus" in found["Prometheus"].remedy
    others = {name for name, it in found.items() if it.state is State.UNKNOWN}
    assert others == found.keys() - {"Prometheus", "Prometheus operator"}


def test_without_the_operator_nothing_is_scraped():
    cluster = FakeCluster()
    cluster.kinds -= {"PodMonitor"}
    found = checked(cluster=cluster)["Prometheus operator"]
    assert (found.state, found.saw) == (State.MISSING, "no PodMonitor")
    cluster.denied = {"PrometheusRule"}
    found = checked(cluster=cluster)
    assert found["Prometheus operator"].state is State.UNKNOWN
    assert found["rules are loaded"].state is State.UNKNOWN
    assert found["versions are counted"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("ahead", "interval", "state"),
    [
        (1.5, "2s", State.OK),
        (-1.5, "2s", State.OK),
        (2.5, "2s", State.WRONG),
        (-2.5, "2s", State.WRONG),
        (40, "1h", State.OK),
        (70, "1h", State.WRONG),
    ],
)
def test_clocks_may_differ_by_an_interval_and_never_by_a_minute(
    ahead: float, interval: str, state: State
):
    answer = {"result": [0, str(1000 + ahead)]}
    found = metrics.clock(answer, 1000, stack("interval: 2s", f"interval: {interval}"))
    assert found.state is state
    assert ("ahead of" in found.saw) == (ahead > 0)


def test_prometheus_that_never_scraped_envoy():
    prometheus = FakeMetrics(time.time)
    prometheus.answers["envoy_cluster_upstream_rq_total"] = lambda: {"result": []}
    found = checked(prometheus)
    assert found["Envoy's metrics"].state is State.MISSING
    assert found["scrape interval"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("times", "state"),
    [
        ([0, 1, 2, 3], State.OK),
        ([0, 1.02, 2.01, 3.03], State.OK),
        ([0, 1.2, 2.4, 3.6], State.WRONG),
        ([0, 1, 2, 60, 61, 62], State.OK),  # a gap, such as a restart
        ([0], State.UNKNOWN),
    ],
)
def test_envoy_is_scraped_twice_in_an_interval(times: list[float], state: State):
    assert metrics.scrapes(times, stack()).state is state


def test_rules_that_prometheus_does_not_take():
    prometheus = FakeMetrics(time.time)
    only = {"metric": {"service": "biopsy", "version": "2.0.0"}}
    prometheus.answers[DECLARED] = lambda: {"result": [only]}
    found = checked(prometheus)["rules are loaded"]
    assert found.state is State.WRONG
    assert found.saw == "modelramp:declared_percent is not recorded: biopsy 3.0.0"
    assert found.is_problem


def test_versions_that_are_not_counted_apart():
    prometheus = FakeMetrics(time.time)
    prometheus.answers[ROUTED] = lambda: {"result": []}
    found = checked(prometheus)["versions are counted"]
    assert (found.state, found.saw) == (
        State.WRONG,
        "no requests are counted of biopsy 2.0.0, biopsy 3.0.0",
    )


def test_what_is_not_deployed_yet_is_asked_for_again():
    prometheus, cluster = FakeMetrics(time.time), FakeCluster()
    cluster.remove("PrometheusRule")
    for query in (DECLARED, ROUTED):
        prometheus.answers[query] = lambda: {"result": []}
    found = checked(prometheus, cluster)
    for name in ("rules are loaded", "versions are counted"):
        assert found[name].state is State.UNKNOWN
        assert found[name].is_warning
        assert "not deployed yet: biopsy" in found[name].saw


def test_a_service_without_a_rollout_has_no_rules_yet():
    text = stack().model_copy(update={"services": {}})
    found = checked(declared=text)
    assert found.keys().isdisjoint({"rules are loaded", "versions are counted"})


def test_only_versions_behind_a_weight_must_be_counted():
    prometheus = FakeMetrics(time.time)
    asked: list[str] = []
    ask = prometheus.ask

    def noted(path: str, **parameters: str):
        asked.append(parameters.get("query", path))
        return ask(path, **parameters)

    prometheus.ask = noted
    checked(prometheus, declared=stack("percent: 5", "percent: 0"))
    (named,) = [query for query in asked if "predictor" in query]
    assert named == f'{ROUTED}"service/models/biopsy-v2-0-0-predictor/80/http"}}'
