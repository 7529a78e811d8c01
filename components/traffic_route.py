"""The route of a model service: who gets which share of requests, and how to pass the split."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from components.pods import GRPC_PORT
from models.names import BACKEND_HEADER, NO_VERSION, VERSION_HEADER, predictor_name

HTTP_SERVICE_PORT = 80
BUCKETS = 100


class StrategyArgs(TypedDict):
    """How traffic is split between stable and candidate."""

    kind: str
    """canary, linear, blue-green, shadow, ab-test or all-at-once."""

    mirrorPercent: NotRequired[int]
    """Share of requests that the candidate gets a copy of; its answers are discarded."""

    bucketHeader: NotRequired[str]
    """With ab-test: header with a number from 0 to 99, derived from the user."""


class Split(TypedDict):
    """What a route has to know of a model service; `traced`: the gateway names the version."""

    name: str
    percents: dict[str, int]
    stable: str
    candidate: str | None
    strategy: StrategyArgs
    traced: bool


def http_route(
    split: Split, gateway: str, matches: Sequence[dict[str, Any]], rewrite: str | None, timeout: str
) -> dict[str, Any]:
    """Returns the spec of the HTTPRoute.

    Args:
        split: versions and shares.
        gateway: `namespace/name` of the Gateway.
        matches: of all requests to this service.
        rewrite: what the prefix of those paths becomes; they stay as they are if absent.
        timeout: of a request, as a duration.
    """
    filters = [_rewrite(rewrite)] if rewrite else []
    rules = [
        {**rule, "timeouts": {"request": timeout}}
        for rule in _rules(split, matches, filters, HTTP_SERVICE_PORT)
    ]
    return {"parentRefs": [_parent(gateway)], "rules": rules}


def http_known(split: Split, gateway: str, matches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the spec of an HTTPRoute that no request takes, see `_known`.

    Args:
        split: versions and shares.
        gateway: `namespace/name` of the Gateway.
        matches: of all requests to this service.
    """
    return {"parentRefs": [_parent(gateway)], "rules": [_known(split, matches, HTTP_SERVICE_PORT)]}


def grpc_known(split: Split, gateway: str, hostname: str) -> dict[str, Any]:
    """Returns the same for gRPC."""
    return {
        "parentRefs": [_parent(gateway)],
        "hostnames": [hostname],
        "rules": [_known(split, [{}], GRPC_PORT)],
    }


def grpc_route(split: Split, gateway: str, hostname: str) -> dict[str, Any]:
    """Returns the spec of the GRPCRoute: the same split, told from others by its host name."""
    return {
        "parentRefs": [_parent(gateway)],
        "hostnames": [hostname],
        "rules": _rules(split, [{}], [], GRPC_PORT),
    }


def model_paths(name: str, protocols: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the matches of all requests to a model service by its name in the path."""
    found: list[dict[str, Any]] = []
    if "v1" in protocols:
        found.append({"path": {"type": "Exact", "value": f"/v1/models/{name}:predict"}})
        found.append({"path": {"type": "PathPrefix", "value": f"/v1/models/{name}"}})
    if "v2" in protocols:
        found.append({"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}})
    return found


def openai_paths(name: str) -> list[dict[str, Any]]:
    """Returns the match of a service that speaks OpenAI's protocol, whose paths name no model."""
    return [{"path": {"type": "PathPrefix", "value": f"/{name}/openai/v1"}}]


def request_timeout(seconds: float) -> str:
    """Returns a time-out as the Gateway API writes it (GEP-2257): no days, five digits a part."""
    milliseconds = round(seconds * 1000)
    whole, rest = divmod(milliseconds, 1000)
    parts = {"h": whole // 3600, "m": whole // 60 % 60, "s": whole % 60, "ms": rest}
    return "".join(f"{count}{unit}" for unit, count in parts.items() if count) or "0s"


def bucket_pattern(percent: int) -> str:
    """Returns a regular expression of the numbers from 0 to below `percent`, at most 99."""
    tens, units = divmod(percent, 10)
    parts = ["[0-9]"] if tens else []
    if tens > 1:
        parts.append(f"[1-{tens - 1}][0-9]")
    if units:
        parts.append(f"{tens or ''}[0-{units - 1}]")
    return "|".join(parts)


def _parent(gateway: str) -> dict[str, str]:
    namespace, name = gateway.split("/")
    return {"namespace": namespace, "name": name}


def _rewrite(prefix: str) -> dict[str, Any]:
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


def _trace() -> dict[str, Any]:
    """Has the gateway say which backend answered.

    It is Envoy that replaces the text, per answer; on each backend a filter of its own would say
    the version itself, but Envoy Gateway then no longer counts versions apart.
    """
    headers = [{"name": BACKEND_HEADER, "value": "%UPSTREAM_CLUSTER%"}]
    return {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": headers}}


def _rules(
    split: Split, matches: Sequence[dict[str, Any]], filters: list[dict[str, Any]], port: int
) -> list[dict[str, Any]]:
    name, stable, candidate = split["name"], split["stable"], split["candidate"]
    filters = [*filters, *([_trace()] if split["traced"] else [])]
    under_test = [version for version in (stable, candidate) if version]
    weights = {version: int(split["percents"][version]) for version in under_test}

    def backend(version: str, weight: int) -> dict[str, Any]:
        return {"name": predictor_name(name, version), "port": port, "weight": weight}

    def rule(
        matches: Sequence[dict[str, Any]],
        backends: list[dict[str, Any]],
        more: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"backendRefs": backends}
        if any(matches):
            found["matches"] = list(matches)
        if filters or more:
            found["filters"] = [*filters, *more]
        return found

    # The door for smoke tests and labels. Without a filter of its own, Envoy Gateway would merge
    # the backend with that of the split, and count this traffic as the version's own.
    def pinned(version: str) -> dict[str, Any]:
        headers = {"set": [{"name": VERSION_HEADER, "value": version}]}
        mark = {"type": "ResponseHeaderModifier", "responseHeaderModifier": headers}
        return rule(
            _with_header(matches, VERSION_HEADER, version),
            [{**backend(version, 1), "filters": [mark]}],
        )

    rules = [*map(pinned, split["percents"])]

    strategy = split["strategy"]
    share = weights[candidate] if candidate else 0
    if candidate and strategy["kind"] == "ab-test" and 0 < share < BUCKETS:
        header, pattern = strategy.get("bucketHeader", ""), bucket_pattern(share)
        buckets = _with_header(matches, header, pattern, "RegularExpression")
        rules.append(rule(buckets, [backend(candidate, 1)]))
        weights = {stable: 100, candidate: 0}
    mirror = int(strategy.get("mirrorPercent", 0)) if candidate and share == 0 else 0
    copies: list[dict[str, Any]] = []
    if candidate and mirror:
        target = {key: it for key, it in backend(candidate, 0).items() if key != "weight"}
        copies = [
            {"type": "RequestMirror", "requestMirror": {"backendRef": target, "percent": mirror}}
        ]
    split_rule = rule(matches, [backend(it, weights[it]) for it in under_test], copies)
    return [*rules, split_rule]


def _known(split: Split, matches: Sequence[dict[str, Any]], port: int) -> dict[str, Any]:
    """Returns a rule that matches nothing, but keeps all versions known to the gateway.

    Also the previous one, should it be wanted back: a backend that comes with its first weight, or
    goes to or from weight 0, fails requests that meet the route before its cluster (measured on
    Envoy Gateway: 503 `cluster_not_found`, 500).
    """
    backends = [
        {"name": predictor_name(split["name"], it), "port": port, "weight": 1}
        for it in split["percents"]
    ]
    return {"backendRefs": backends, "matches": _with_header(matches, VERSION_HEADER, NO_VERSION)}


def _with_header(
    matches: Sequence[dict[str, Any]], header: str, value: str, kind: str = "Exact"
) -> list[dict[str, Any]]:
    condition = {"type": kind, "name": header, "value": value}
    return [{**match, "headers": [condition]} for match in matches]
