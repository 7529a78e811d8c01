"""Envoy Gateway: set so that requests, errors and latency are counted per version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.gateway import GROUP, Way
from local.doctor.reading import Cluster, Object
from models.stack import Stack

_API = "gateway.envoyproxy.io/v1alpha1"
_DEFAULT_FLUSH_SECONDS = 5.0
# Source: Envoy 1.40, HistogramSettingsImpl::defaultBuckets.
_DEFAULT_EDGES_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000),
    *(300000, 600000, 1800000, 3600000),
)
_A_STAT = "cluster.service/models/fraud-v1-4-0-predictor/80/http.upstream_rq_time"
_EXAMPLE = "local/cluster/manifests/gateway.yaml"

PER_VERSION = Requirement(
    "gateway",
    "counts per version",
    "else all versions of a route are one cluster to Envoy, and the judge has nothing to compare",
    "set spec.mergeBackends: {} in the EnvoyProxy that the Gateway's spec.infrastructure."
    f"parametersRef names; an example: {_EXAMPLE}",
)
ROUTE_POLICIES = Requirement(
    "gateway",
    "policies on routes",
    "a BackendTrafficPolicy on a route silently undoes mergeBackends for it",
    "attach it to the Gateway instead",
)
EDGES = Requirement(
    "gateway",
    "latency edges",
    "the share of slow requests is counted at the declared threshold",
    f"set stats_config in the EnvoyProxy's bootstrap as {_EXAMPLE} does",
)
FLUSH = Requirement(
    "gateway",
    "flush of latency",
    "Envoy shows latency as of its last flush, which may be intervals ago",
    f"set stats_flush_interval in the EnvoyProxy's bootstrap as {_EXAMPLE} does, or declare a "
    "longer judge.interval",
    needed=False,
)
RETRIES = Requirement(
    "gateway",
    "retries",
    "a connection that a server closed costs the next request, which the version did not fail",
    f"attach a BackendTrafficPolicy with retry to the Gateway as {_EXAMPLE} does",
    needed=False,
)
REQUEST_IDS = Requirement(
    "gateway",
    "request ids",
    "labels arrive under the id that the client gave its request",
    "attach a ClientTrafficPolicy with headers.requestID: PreserveOrGenerate to the Gateway as "
    f"{_EXAMPLE} does",
)


def checks(cluster: Cluster, stack: Stack, way: Way) -> Iterator[Finding]:
    """Checks a Gateway of Envoy Gateway; of another controller there is nothing to say."""
    if not way.is_envoy_gateway or not isinstance(way.gateway, dict):
        return
    proxy = _proxy(cluster, way.gateway, way.gateway_class)
    yield per_version(proxy)
    on_routes = cluster.list(_API, "BackendTrafficPolicy", stack.cluster.namespace)
    routes = cluster.list(f"{GROUP}/v1", "HTTPRoute", stack.cluster.namespace)
    yield route_policies(on_routes, routes, stack)
    settings = bootstrap(proxy)
    yield edges(settings, stack)
    yield flush(settings, stack)
    namespace, name = stack.cluster.gateway.split("/")
    yield retries(cluster.list(_API, "BackendTrafficPolicy", namespace), name)
    if any(service.slo.accuracy is not None for service in stack.services.values()):
        yield request_ids(cluster.list(_API, "ClientTrafficPolicy", namespace), name)


def _proxy(
    cluster: Cluster, gateway: Object, gateway_class: Object | Unreadable | None
) -> Object | Unreadable | None:
    """Returns the EnvoyProxy in effect: the Gateway's own, else its class's."""
    own = gateway["spec"].get("infrastructure", {}).get("parametersRef")
    if own:
        return cluster.get(_API, "EnvoyProxy", own["name"], gateway["metadata"]["namespace"])
    shared = gateway_class["spec"].get("parametersRef") if isinstance(gateway_class, dict) else None
    if shared:
        return cluster.get(_API, "EnvoyProxy", shared["name"], shared.get("namespace", ""))
    return None


def per_version(proxy: Object | Unreadable | None) -> Finding:
    """Says whether each version is a cluster of its own to Envoy."""
    if isinstance(proxy, Unreadable):
        return PER_VERSION.unreadable(proxy)
    if proxy is None:
        return PER_VERSION.missing("neither the Gateway nor its class has an EnvoyProxy")
    name = f"EnvoyProxy {proxy['metadata']['namespace']}/{proxy['metadata']['name']}"
    merged = proxy["spec"].get("mergeBackends")
    if merged is None:
        return PER_VERSION.wrong(f"{name} has no mergeBackends")
    if merged.get("selector"):
        return PER_VERSION.wrong(
            f"{name} merges only backends that a selector names",
            remedy="take the selector away: KServe's Services carry few labels of ours",
        )
    return PER_VERSION.ok(f"{name} has mergeBackends")


def route_policies(
    policies: list[Object] | Unreadable, routes: list[Object] | Unreadable, stack: Stack
) -> Finding:
    """Says which policies are attached to a declared service's route."""
    for answer in (policies, routes):
        if isinstance(answer, Unreadable):
            return ROUTE_POLICIES.unreadable(answer)
    assert not isinstance(policies, Unreadable)  # noqa: S101  said above
    assert not isinstance(routes, Unreadable)  # noqa: S101
    labels = {route["metadata"]["name"]: route["metadata"].get("labels", {}) for route in routes}
    found = [
        f"{policy['metadata']['name']} is on {name}"
        for policy in policies
        for name in stack.services
        if _targets(policy, "HTTPRoute", name, labels.get(name))
    ]
    if found:
        return ROUTE_POLICIES.wrong(f"BackendTrafficPolicy {'; '.join(found)}")
    return ROUTE_POLICIES.ok("no BackendTrafficPolicy is on a declared route")


def _targets(policy: Object, kind: str, name: str, labels: dict[str, str] | None = None) -> bool:
    spec = policy["spec"]
    named: list[Object] = [*spec.get("targetRefs", ())]
    if "targetRef" in spec:
        named.append(spec["targetRef"])
    if any(it["kind"] == kind and it["name"] == name for it in named):
        return True
    return labels is not None and any(
        it["kind"] == kind and it.get("matchLabels", {}).items() <= labels.items()
        for it in spec.get("targetSelectors", ())
    )


def bootstrap(proxy: Object | Unreadable | None) -> Object | Unreadable:
    """Returns what an EnvoyProxy changes of Envoy's bootstrap about statistics."""
    if isinstance(proxy, Unreadable):
        return proxy
    changed = (proxy or {"spec": {}})["spec"].get("bootstrap", {})
    if changed.get("type") != "JSONPatch":
        try:
            loaded: Any = yaml.safe_load(changed.get("value") or "")
        except yaml.YAMLError:
            return Unreadable("the EnvoyProxy's bootstrap is no YAML", FLUSH.remedy)
        return loaded if isinstance(loaded, dict) else {}
    settings: Object = {}
    for patch in changed.get("jsonPatches", ()):
        match patch["path"].strip("/").split("/"):
            case ["stats_flush_interval" | "stats_config" as key]:
                settings[key] = patch.get("value")
            case ["stats_config", "histogram_bucket_settings"]:
                settings.setdefault("stats_config", {})["histogram_bucket_settings"] = patch.get(
                    "value"
                )
            case ["stats_config", *_]:
                return Unreadable(
                    f"a patch of {patch['path']} is beyond what is understood here", EDGES.remedy
                )
            case _:
                pass
    return settings


def edges(settings: Object | Unreadable, stack: Stack) -> Finding:
    """Says whether Envoy's histograms have an edge at each declared threshold."""
    if isinstance(settings, Unreadable):
        return EDGES.unreadable(settings)
    there = _edges_ms(settings)
    lacking = {
        name: service.slo.latency.threshold_ms
        for name, service in stack.services.items()
        if service.slo.latency.threshold_ms not in there
    }
    if lacking:
        named = ", ".join(f"{threshold:g} ms of {name}" for name, threshold in lacking.items())
        return EDGES.wrong(f"no edge at {named}; there are {', '.join(f'{it:g}' for it in there)}")
    declared = sorted({it.slo.latency.threshold_ms for it in stack.services.values()})
    return EDGES.ok(f"an edge at {', '.join(f'{it:g} ms' for it in declared) or 'none declared'}")


def _edges_ms(settings: Object) -> Sequence[float]:
    config = settings.get("stats_config") or {}
    for entry in config.get("histogram_bucket_settings") or ():
        if _matches(entry["match"]):  # the first one that matches, as for Envoy
            return entry["buckets"]
    return _DEFAULT_EDGES_MS


def _matches(matcher: Object) -> bool:
    """Whether one of Envoy's string matchers takes the name of a version's latency."""
    return (
        matcher.get("exact") == _A_STAT
        or ("prefix" in matcher and _A_STAT.startswith(matcher["prefix"]))
        or ("suffix" in matcher and _A_STAT.endswith(matcher["suffix"]))
        or ("contains" in matcher and matcher["contains"] in _A_STAT)
        or ("safe_regex" in matcher and bool(re.fullmatch(matcher["safe_regex"]["regex"], _A_STAT)))
    )


def flush(settings: Object | Unreadable, stack: Stack) -> Finding:
    """Says whether latency is shown soon enough for the shortest interval of the judge."""
    if isinstance(settings, Unreadable):
        return FLUSH.unreadable(settings)
    declared = settings.get("stats_flush_interval")
    seconds = float(declared.removesuffix("s")) if declared else _DEFAULT_FLUSH_SECONDS
    saw = f"every {seconds:g} s{'' if declared else ', as by default'}"
    short = [
        f"{name} {service.judge.interval_seconds:g} s"
        for name, service in stack.services.items()
        if service.judge.interval_seconds < 2 * seconds
    ]
    if short:
        return FLUSH.wrong(f"{saw}; judge.interval of {', '.join(short)} is less than twice that")
    return FLUSH.ok(saw)


def retries(policies: list[Object] | Unreadable, gateway: str) -> Finding:
    """Says whether requests that met a broken connection are tried again."""
    if isinstance(policies, Unreadable):
        return RETRIES.unreadable(policies)
    attached = [it for it in policies if _targets(it, "Gateway", gateway)]
    for policy in attached:
        retry = policy["spec"].get("retry")
        if retry:
            triggers = retry.get("retryOn", {}).get("triggers", ())
            return RETRIES.ok(
                f"{retry.get('numRetries', 2)} on {', '.join(triggers) or 'defaults'}"
            )
    return RETRIES.missing("no BackendTrafficPolicy with retry is on the Gateway")


def request_ids(policies: list[Object] | Unreadable, gateway: str) -> Finding:
    """Says whether the client's own request id reaches the model server."""
    if isinstance(policies, Unreadable):
        return REQUEST_IDS.unreadable(policies)
    attached = [it for it in policies if _targets(it, "Gateway", gateway)]
    for policy in attached:
        headers = policy["spec"].get("headers", {})
        chosen = headers.get("requestID")
        if headers.get("preserveXRequestID"):
            return REQUEST_IDS.ok("preserveXRequestID")
        if chosen in {"PreserveOrGenerate", "Preserve"}:
            return REQUEST_IDS.ok(chosen)
        if chosen:
            return REQUEST_IDS.wrong(f"{policy['metadata']['name']} says {chosen}")
    return REQUEST_IDS.missing("no ClientTrafficPolicy on the Gateway says it: a new id is made")
