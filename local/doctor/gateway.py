"""Gateway API, and the Gateway that the stack's routes are attached to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local.cluster.programs import ENVOY_GATEWAY_VERSION
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Object
from models.stack import Stack

GROUP = "gateway.networking.k8s.io"
ENVOY_GATEWAY = "gateway.envoyproxy.io/gatewayclass-controller"
_TIMEOUTS_ARE_STANDARD = (1, 2)  # HTTPRoute's `timeouts` came to the standard channel with 1.2

API = Requirement(
    "gateway",
    "Gateway API",
    "the split is one HTTPRoute with weights and a time-out",
    f"install Envoy Gateway {ENVOY_GATEWAY_VERSION}, which brings the definitions (CRDs)",
)
GATEWAY = Requirement(
    "gateway",
    "Gateway",
    "requests come in by it",
    "make one, or name another in the stack: modelramp:cluster.gateway (namespace/name); "
    "an example: local/cluster/manifests/gateway.yaml",
)
LISTENER = Requirement(
    "gateway",
    "listener",
    "the route lies in another namespace than the Gateway",
    "let them in: spec.listeners[].allowedRoutes.namespaces: {from: All}, or a selector",
)
CONTROLLER = Requirement(
    "gateway",
    "gateway controller",
    "only Envoy Gateway's counts per version are known to us",
    f"use Envoy Gateway (tested: {ENVOY_GATEWAY_VERSION}); with another one, requests, errors and "
    "latency by version must come from elsewhere: add a file to models/metric_sources",
    needed=False,
)


@dataclass(frozen=True)
class Way:
    """What was read of the Gateway.

    Attributes:
        gateway: itself.
        gateway_class: what it is made by.
    """

    gateway: Object | Unreadable | None
    gateway_class: Object | Unreadable | None

    @property
    def is_envoy_gateway(self) -> bool:
        """Whether it is known to be Envoy Gateway's."""
        found = self.gateway_class
        return isinstance(found, dict) and found["spec"]["controllerName"] == ENVOY_GATEWAY


def read(cluster: Cluster, stack: Stack) -> Way:
    """Reads the Gateway that the stack names."""
    namespace, name = stack.cluster.gateway.split("/")
    gateway = cluster.get(f"{GROUP}/v1", "Gateway", name, namespace)
    if gateway is None or isinstance(gateway, Unreadable):
        return Way(gateway, gateway)
    class_name = gateway["spec"]["gatewayClassName"]
    return Way(gateway, cluster.get(f"{GROUP}/v1", "GatewayClass", class_name))


def checks(cluster: Cluster, stack: Stack, way: Way) -> Iterator[Finding]:
    """Checks the Gateway."""
    definition = cluster.get(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"httproutes.{GROUP}"
    )
    yield api(cluster.has(f"{GROUP}/v1", "HTTPRoute"), definition)
    yield gateway(way.gateway, stack.cluster.gateway)
    namespace = cluster.get("v1", "Namespace", stack.cluster.namespace)
    yield listener(way.gateway, stack.cluster.namespace, namespace)
    yield controller(way.gateway_class)


def api(has_routes: bool | Unreadable, definition: Object | Unreadable | None) -> Finding:
    """Says which version of Gateway API there is."""
    if isinstance(has_routes, Unreadable):
        return API.unreadable(has_routes)
    if not has_routes:
        return API.missing(f"no HTTPRoute in {GROUP}/v1")
    if isinstance(definition, Unreadable) or definition is None:
        why = definition.why if definition else "its definition cannot be found"
        return API.ok(f"HTTPRoute is there; version not told ({why})")
    annotations = definition["metadata"].get("annotations", {})
    bundle = annotations.get(f"{GROUP}/bundle-version", "of an unknown version")
    channel = annotations.get(f"{GROUP}/channel", "unknown")
    saw = f"{bundle}, {channel} channel"
    numbers = re.match(r"v(\d+)\.(\d+)", bundle)
    if (
        channel == "standard"
        and numbers
        and (int(numbers[1]), int(numbers[2])) < _TIMEOUTS_ARE_STANDARD
    ):
        return API.wrong(f"{saw}: its HTTPRoute has no timeouts")
    return API.ok(saw)


def gateway(found: Object | Unreadable | None, name: str) -> Finding:
    """Says whether the Gateway is there and works."""
    if isinstance(found, Unreadable):
        return GATEWAY.unreadable(found)
    if found is None:
        return GATEWAY.missing(f"no Gateway {name}")
    status: dict[str, Any] = found.get("status", {})
    conditions = {it["type"]: it for it in status.get("conditions", ())}
    programmed = conditions.get("Programmed", {})
    if programmed.get("status") != "True":
        said = programmed.get("message", "no controller has said anything about it")
        return GATEWAY.wrong(
            f"{name} is not Programmed: {said}",
            remedy=f"kubectl describe gateway --namespace {name.replace('/', ' ')}",
        )
    addresses = ", ".join(it["value"] for it in status.get("addresses", ()))
    return GATEWAY.ok(f"{name} is Programmed, at {addresses or 'no address of its own'}")


def listener(
    found: Object | Unreadable | None, namespace: str, labelled: Object | Unreadable | None
) -> Finding:
    """Says whether a listener takes HTTPRoutes of a namespace.

    Args:
        found: the Gateway.
        namespace: of the routes.
        labelled: that namespace.
    """
    if isinstance(found, Unreadable):
        return LISTENER.unreadable(found)
    if found is None:
        return LISTENER.unknown("there is no Gateway", remedy=GATEWAY.remedy)
    labels: dict[str, str] | Unreadable = {"kubernetes.io/metadata.name": namespace}
    if isinstance(labelled, Unreadable):
        labels = labelled
    elif labelled is not None:
        labels = labelled["metadata"].get("labels", {})
    answers = [
        (it["name"], _takes(it, labels, is_own=found["metadata"]["namespace"] == namespace))
        for it in found["spec"]["listeners"]
    ]
    open_ones = [name for name, answer in answers if answer is True]
    if open_ones:
        return LISTENER.ok(f"{', '.join(open_ones)} takes routes of {namespace}")
    for _, answer in answers:
        if isinstance(answer, Unreadable):
            return LISTENER.unreadable(answer)
    return LISTENER.wrong(f"no HTTP listener takes routes of {namespace}")


def _takes(it: Object, labels: dict[str, str] | Unreadable, *, is_own: bool) -> bool | Unreadable:
    allowed = it.get("allowedRoutes", {})
    kinds = allowed.get("kinds") or [{"kind": "HTTPRoute"}]
    if it["protocol"] not in {"HTTP", "HTTPS"} or all(k["kind"] != "HTTPRoute" for k in kinds):
        return False
    namespaces = allowed.get("namespaces", {})
    match namespaces.get("from", "Same"):
        case "All":
            return True
        case "Same":
            return is_own
        case "Selector":
            return labels if isinstance(labels, Unreadable) else _selects(namespaces, labels)
        case _:
            return False


def _selects(namespaces: Object, labels: dict[str, str]) -> bool:
    selector = namespaces.get("selector", {})
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        _meets(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _meets(expression: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:  # DoesNotExist
            return value is None


def controller(gateway_class: Object | Unreadable | None) -> Finding:
    """Says whose Gateway it is."""
    if isinstance(gateway_class, Unreadable):
        return CONTROLLER.unreadable(gateway_class)
    if gateway_class is None:
        return CONTROLLER.unknown("there is no Gateway, or no class of it", remedy=GATEWAY.remedy)
    name = gateway_class["spec"]["controllerName"]
    if name == ENVOY_GATEWAY:
        return CONTROLLER.ok("Envoy Gateway")
    return CONTROLLER.wrong(name)
