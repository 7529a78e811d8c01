"""Prometheus: it answers, has Envoy's counts, and has taken our rules."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from local.cluster.programs import PROMETHEUS_OPERATOR_VERSION
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Metrics, Object
from models.metric_sources import METRIC_SOURCES
from models.names import DECLARED_PERCENT
from models.service import Service
from models.stack import Stack

MONITORING = "monitoring.coreos.com/v1"
_ENVOY = "envoy_cluster_upstream_rq_total"

OPERATOR = Requirement(
    "metrics",
    "Prometheus operator",
    "pods are scraped by a PodMonitor, weights recorded by a PrometheusRule",
    f"install prometheus-operator (tested: {PROMETHEUS_OPERATOR_VERSION})",
)
PROMETHEUS = Requirement(
    "metrics",
    "Prometheus",
    "the judge reads what the versions did there",
    "name one that this machine reaches: modelramp:cluster.prometheus; one inside the cluster "
    "by a port-forward, see docs/clusters.md#prometheus",
)
ENVOY = Requirement(
    "metrics",
    "Envoy's metrics",
    "requests, errors and latency are counted by Envoy",
    "let Prometheus scrape Envoy's pods: a PodMonitor as in "
    "local/cluster/manifests/prometheus.yaml, which Prometheus's podMonitorSelector takes",
)
RULES = Requirement(
    "metrics",
    "rules are loaded",
    "the judge takes the weight that held from them, and without it decides nothing",
    "let Prometheus take rules of this namespace: spec.ruleNamespaceSelector and ruleSelector",
)
VERSIONS = Requirement(
    "metrics",
    "versions are counted",
    "the judge compares these counts",
    "see the check `counts per version`, and which label envoy_cluster_name has",
)
SCRAPES = Requirement(
    "metrics",
    "scrape interval",
    "an interval of the judge needs a sample at each of its edges",
    "scrape Envoy at least twice in a judge.interval, or declare a longer one",
)
CLOCK = Requirement(
    "metrics",
    "clock",
    "times of moves are this machine's, times of counts Prometheus's",
    "let both keep time by NTP",
)


def checks(cluster: Cluster, metrics: Metrics, stack: Stack) -> Iterator[Finding]:
    """Checks Prometheus."""
    kinds = ("PodMonitor", "PrometheusRule")
    yield operator({kind: cluster.has(MONITORING, kind) for kind in kinds})
    yield prometheus(metrics.ask("status/buildinfo"), metrics.url)
    before = time.time()
    answer = metrics.ask("query", query="time()")
    yield clock(answer, (before + time.time()) / 2, stack)
    found = _result(metrics.ask("query", query=_ENVOY))
    yield envoy(found)
    yield scrapes(_samples_of_one(metrics, found), stack)
    deployed = {name: it for name, it in stack.services.items() if it.rollout}
    if deployed:
        namespace = stack.cluster.namespace
        made = cluster.list(MONITORING, "PrometheusRule", namespace)
        query = f'{DECLARED_PERCENT}{{namespace="{namespace}"}}'
        yield rules(made, _result(metrics.ask("query", query=query)), deployed)
        yield versions(made, counted(metrics, deployed, namespace))


def operator(there: Mapping[str, bool | Unreadable]) -> Finding:
    """Says which of the operator's kinds there are."""
    for answer in there.values():
        if isinstance(answer, Unreadable):
            return OPERATOR.unreadable(answer)
    missing = [kind for kind, answer in there.items() if not answer]
    if missing:
        return OPERATOR.missing(f"no {', no '.join(missing)}")
    return OPERATOR.ok(", ".join(there))


def prometheus(build: Any, url: str) -> Finding:
    """Says whether Prometheus answers, and which version it is."""
    if isinstance(build, Unreadable):
        return PROMETHEUS.missing(build.why)
    return PROMETHEUS.ok(f"{build.get('version', 'version not told')} at {url}")


def clock(answer: Any, now: float, stack: Stack) -> Finding:
    """Says by how much the clocks differ.

    Args:
        answer: what `time()` gave there.
        now: the time here, in the middle of the question.
        stack: what is declared.
    """
    if isinstance(answer, Unreadable):
        return CLOCK.unreadable(answer)
    seconds = float(answer["result"][1]) - now
    intervals = [it.judge.interval_seconds for it in stack.services.values()]
    saw = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    if abs(seconds) > min([60.0, *intervals]):
        return CLOCK.wrong(saw)
    return CLOCK.ok(saw)


def _result(answer: Any) -> Sequence[Object] | Unreadable:
    return answer if isinstance(answer, Unreadable) else answer["result"]


def envoy(series: Sequence[Object] | Unreadable) -> Finding:
    """Says whether Prometheus has counts of Envoy."""
    if isinstance(series, Unreadable):
        return ENVOY.unreadable(series)
    if not series:
        return ENVOY.missing(f"no series {_ENVOY}")
    pods = {it["metric"].get("instance") for it in series}
    return ENVOY.ok(f"{len(series)} series of {len(pods)} proxies")


def _samples_of_one(
    metrics: Metrics, series: Sequence[Object] | Unreadable
) -> list[float] | Unreadable:
    """Returns the times of the last samples of one series.

    Not from the configuration: managed services do not show it.
    """
    if isinstance(series, Unreadable):
        return series
    if not series:
        return []
    labels = ",".join(
        f"{name}={json.dumps(value)}"
        for name, value in series[0]["metric"].items()
        if name != "__name__"
    )
    found = _result(metrics.ask("query", query=f"{_ENVOY}{{{labels}}}[5m]"))
    if isinstance(found, Unreadable):
        return found
    return [float(at) for at, _ in found[0]["values"]] if found else []


def scrapes(times: Sequence[float] | Unreadable, stack: Stack) -> Finding:
    """Says how often Envoy is scraped, against the judge's intervals.

    Args:
        times: of samples, in order.
        stack: what is declared.
    """
    if isinstance(times, Unreadable):
        return SCRAPES.unreadable(times)
    if len(times) < 2:
        return SCRAPES.unknown("fewer than two samples of Envoy within five minutes")
    gap = statistics.median(later - earlier for earlier, later in pairwise(times))
    saw = f"every {gap:.3g} s"
    short = [
        f"{name} {service.judge.interval_seconds:g} s"
        for name, service in stack.services.items()
        # Scrapes are jittered by some milliseconds.
        if service.judge.interval_seconds < 1.95 * gap
    ]
    if short:
        return SCRAPES.wrong(f"{saw}; judge.interval of {', '.join(short)} is less than twice that")
    return SCRAPES.ok(saw)


def rules(
    made: list[Object] | Unreadable,
    series: Sequence[Object] | Unreadable,
    deployed: Mapping[str, Service],
) -> Finding:
    """Says whether the weights of deployed services are recorded.

    Args:
        made: PrometheusRules of the namespace.
        series: declared percentages.
        deployed: services with a rollout.
    """
    for answer in (made, series):
        if isinstance(answer, Unreadable):
            return RULES.unreadable(answer)
    assert not isinstance(made, Unreadable)  # noqa: S101  said above
    assert not isinstance(series, Unreadable)  # noqa: S101
    recorded = {(it["metric"].get("service"), it["metric"].get("version")) for it in series}
    there = {rule["metadata"]["name"] for rule in made}
    lacking = [
        f"{name} {version}"
        for name, service in deployed.items()
        for version in service.served
        if f"{name}-declared" in there and (name, version) not in recorded
    ]
    if lacking:
        return RULES.wrong(f"{DECLARED_PERCENT} is not recorded: {', '.join(lacking)}")
    absent = [name for name in deployed if f"{name}-declared" not in there]
    if absent:
        return _not_deployed(RULES, absent)
    return RULES.ok(f"{DECLARED_PERCENT} of {', '.join(deployed)}")


def counted(
    metrics: Metrics, deployed: Mapping[str, Service], namespace: str
) -> dict[str, bool | Unreadable]:
    """Returns whether requests are counted, by service and version under test."""
    answers: dict[str, bool | Unreadable] = {}
    for name, service in deployed.items():
        source = METRIC_SOURCES[service.runtime.kind]
        # A previous version is behind no weight, and is not counted until it is asked.
        under_test = (version for version in service.served if service.percents()[version])
        for version in under_test:
            query = source.selector("routed", namespace=namespace, service=name, version=version)
            found = _result(metrics.ask("query", query=query))
            key = f"{name} {version}"
            answers[key] = found if isinstance(found, Unreadable) else bool(found)
    return answers


def versions(made: list[Object] | Unreadable, answers: Mapping[str, bool | Unreadable]) -> Finding:
    """Says whether requests of each version under test are counted.

    Args:
        made: PrometheusRules of the namespace, by which it is known what is deployed.
        answers: what `counted` returned.
    """
    for answer in (made, *answers.values()):
        if isinstance(answer, Unreadable):
            return VERSIONS.unreadable(answer)
    assert not isinstance(made, Unreadable)  # noqa: S101  said above
    there = {rule["metadata"]["name"] for rule in made}
    lacking = [key for key, found in answers.items() if not found]
    deployed = [key for key in lacking if f"{key.split()[0]}-declared" in there]
    if deployed:
        return VERSIONS.wrong(f"no requests are counted of {', '.join(deployed)}")
    if lacking:
        return _not_deployed(VERSIONS, lacking)
    return VERSIONS.ok(", ".join(answers))


def _not_deployed(requirement: Requirement, names: Sequence[str]) -> Finding:
    return requirement.unknown(
        f"not deployed yet: {', '.join(names)}",
        remedy="pulumi up, then ask again",
        needed=False,
    )
