"""Gateway API routes as Envoy's own dynamic configuration, from files it watches.

Clusters (CDS) and routes (RDS) are separate files, so a change of weights touches one file; Envoy
takes it over without closing a connection. Source: Envoy's xDS v3 API, "filesystem subscriptions".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.base import parse_duration
from models.errors import RuntimeTargetError
from models.metric_sources import METRIC_SOURCES
from models.names import VERSION_HEADER

ROUTE_CONFIG = "routes"
CONNECT_TIMEOUT = "5s"
IDLE_UPSTREAM = "4s"
"""Shorter than uvicorn's 5 s, else Envoy now and then reuses a connection just being closed."""

_TYPE = "type.googleapis.com/envoy"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(folder: Path, admin_port: int, gateway_port: int) -> dict[str, Any]:
    """Returns Envoy's start configuration: one listener, clusters and routes from files."""
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "gateway",
        "preserve_external_request_id": True,
        "access_log": [_failures_log()],
        "rds": {
            "route_config_name": ROUTE_CONFIG,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(folder / "routes.yaml"),
                    "watched_directory": {"path": str(folder)},
                },
            },
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "gateway",
        "address": _address(gateway_port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {
        "node": {"id": "modelramp", "cluster": "embedded"},
        "admin": {"address": _address(admin_port)},
        # Histograms show what came before the last flush; every five seconds is too rare here.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"suffix": "upstream_rq_time"},
                    "buckets": list(METRIC_SOURCES["mlflow"].latency_edges_ms),
                }
            ]
        },
        "static_resources": {"listeners": [listener]},
        "dynamic_resources": {
            "cds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(folder / "clusters.yaml"),
                    "watched_directory": {"path": str(folder)},
                },
            }
        },
    }


def backends(route: Mapping[str, Any]) -> set[str]:
    """Returns the Kubernetes Services that a share of unpinned traffic goes to."""
    return {
        backend["name"]
        for rule in route["spec"]["rules"]
        if not _is_pinned(rule)
        for backend in rule["backendRefs"]
        if backend.get("weight", 1) > 0
    }


def clusters(
    routes: Sequence[Mapping[str, Any]], endpoints: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Returns the clusters that routes refer to, as a CDS response.

    Args:
        routes: HTTPRoutes.
        endpoints: loopback ports by Kubernetes Service.
    """
    names = sorted({pair for route in routes for pair in _clusters_of(route)})
    return _response([_cluster(name, endpoints.get(service, ())) for name, service in names])


def route_configuration(routes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns all HTTPRoutes as one RDS response, most specific match first.

    Raises:
        RuntimeTargetError: a route uses a part of the Gateway API that is not supported here.
    """
    hosts: dict[str, list[tuple[tuple[int, ...], dict[str, Any]]]] = {}
    for route in routes:
        for host in route["spec"].get("hostnames", ["*"]):
            hosts.setdefault(host, []).extend(_entries(route))
    virtual_hosts = [
        {
            "name": host,
            "domains": [host] if host == "*" else [host, f"{host}:*"],
            "routes": [entry for _, entry in sorted(entries, key=lambda pair: pair[0])],
        }
        for host, entries in sorted(hosts.items())
    ]
    resource = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTE_CONFIG,
        "virtual_hosts": virtual_hosts,
    }
    return _response([resource])


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _failures_log() -> dict[str, Any]:
    """A line per failed request, with Envoy's own flags that say where it failed."""
    fields = {
        "time": "%START_TIME%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "path": "%REQ(:PATH)%",
        "requestId": "%REQ(X-REQUEST-ID)%",
        "milliseconds": "%DURATION%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {
            "status_code_filter": {
                "comparison": {
                    "op": "GE",
                    "value": {"default_value": 500, "runtime_key": "modelramp.log_from_status"},
                }
            }
        },
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _response(resources: list[dict[str, Any]]) -> dict[str, Any]:
    version = hashlib.sha256(json.dumps(resources).encode()).hexdigest()[:12]
    return {"version_info": version, "resources": resources}


def _matches(rule: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Returns a rule's matches; a rule without any matches every request."""
    return rule.get("matches") or [{}]


def _is_pinned(rule: Mapping[str, Any]) -> bool:
    return all(
        any(header["name"].lower() == VERSION_HEADER for header in match.get("headers", ()))
        for match in _matches(rule)
    )


def _cluster_name(kind: str, namespace: str, backend: Mapping[str, Any]) -> str:
    """Returns a cluster's name; `service/...` is what Envoy Gateway calls it.

    Pinned and mirrored traffic has clusters of its own: it is not the version's own.
    """
    return f"{kind}/{namespace}/{backend['name']}/{backend.get('port', 80)}/http"


def _clusters_of(route: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    namespace = route["metadata"].get("namespace", "default")
    for rule in route["spec"]["rules"]:
        kind = "pin" if _is_pinned(rule) else "service"
        for backend in rule["backendRefs"]:
            yield _cluster_name(kind, namespace, backend), backend["name"]
        for backend, _ in _mirrors(rule):
            yield _cluster_name("mirror", namespace, backend), backend["name"]


def _cluster(name: str, ports: Sequence[int]) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in ports]}
            ],
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": IDLE_UPSTREAM},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _mirrors(rule: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], float]]:
    for item in rule.get("filters", ()):
        if item["type"] != "RequestMirror":
            raise RuntimeTargetError(f"HTTPRoute filter {item['type']} is not supported here")
        mirror = item["requestMirror"]
        yield mirror["backendRef"], mirror.get("percent", 100)


def _entries(route: Mapping[str, Any]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Yields each match of a route with its precedence (Gateway API, HTTPRouteMatch)."""
    namespace = route["metadata"].get("namespace", "default")
    for rule in route["spec"]["rules"]:
        action = _action(rule, namespace)
        for match in _matches(rule):
            headers = [_header(header) for header in match.get("headers", ())]
            precedence, path = _path(match.get("path", {}))
            matcher = {**path, **({"headers": headers} if headers else {})}
            yield (*precedence, -len(headers)), {"match": matcher, "route": action}


def _path(path: Mapping[str, Any]) -> tuple[tuple[int, int], dict[str, Any]]:
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "Exact":
        return (0, -len(value)), {"path": value}
    if kind == "PathPrefix":
        matcher = {"prefix": "/"} if value == "/" else {"path_separated_prefix": value.rstrip("/")}
        return (1, -len(value)), matcher
    raise RuntimeTargetError(f"HTTPRoute path match {kind} is not supported here")


def _header(header: Mapping[str, Any]) -> dict[str, Any]:
    kind, value = header.get("type", "Exact"), header["value"]
    matcher = {"exact": value} if kind == "Exact" else {"safe_regex": {"regex": value}}
    return {"name": header["name"].lower(), "string_match": matcher}


def _action(rule: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    kind = "pin" if _is_pinned(rule) else "service"
    weighted = [
        {
            "name": _cluster_name(kind, namespace, backend),
            "weight": backend.get("weight", 1),
        }
        for backend in rule["backendRefs"]
    ]
    mirrors = [
        {
            "cluster": _cluster_name("mirror", namespace, backend),
            "runtime_fraction": {
                "default_value": {"numerator": round(percent * 10_000), "denominator": "MILLION"}
            },
        }
        for backend, percent in _mirrors(rule)
    ]
    timeout = parse_duration(rule.get("timeouts", {}).get("request", "15s"))
    return {
        "weighted_clusters": {"clusters": weighted},
        "timeout": f"{timeout:g}s",
        "request_mirror_policies": mirrors,
        # Only failures of the connection itself: such a request was never handled.
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
        },
    }
