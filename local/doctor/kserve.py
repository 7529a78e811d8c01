"""KServe: there, new enough, and not making ways of its own to a version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from local.cluster.programs import KSERVE_VERSION
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Object
from models.names import API_PREFIX, inference_service_name, known_route_name
from models.stack import Stack

OLDEST = (0, 20)
_CONTROLLER = "control-plane=kserve-controller-manager"
_CONFIG = "inferenceservice-config"

DEFINITIONS = Requirement(
    "kserve",
    "KServe definitions",
    "each version is an InferenceService",
    f"install KServe {KSERVE_VERSION}: charts kserve-crd and kserve-resources",
)
CONTROLLER = Requirement(
    "kserve",
    "KServe controller",
    "it makes pods of InferenceServices",
    f"install KServe {KSERVE_VERSION}; else see why it is not available: "
    f"kubectl get pods -A -l {_CONTROLLER}",
)
VERSION = Requirement(
    "kserve",
    "KServe version",
    "older ones name the mode otherwise, and call nothing ready without an ingress",
    f"update KServe to {'.'.join(map(str, OLDEST))} or later (tested: {KSERVE_VERSION})",
)
MODE = Requirement(
    "kserve",
    "Standard mode",
    "weights are those of our own route, which needs plain Services",
    f"install KServe with its ConfigMap {_CONFIG}",
)
BYPASS = Requirement(
    "kserve",
    "no bypass",
    "requests past the split reach a version uncounted by the judge",
    "delete it if nobody needs it: it leads to one version, whatever is declared",
)

# What leads to Services, where each kind keeps their names.
_ROUTES = (
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.istio.io/v1beta1", "VirtualService"),
)


def checks(cluster: Cluster, stack: Stack) -> Iterator[Finding]:
    """Checks KServe."""
    kinds = (("v1beta1", "InferenceService"), ("v1alpha1", "ServingRuntime"))
    yield definitions(
        {kind: cluster.has(f"serving.kserve.io/{version}", kind) for version, kind in kinds}
    )
    controllers = cluster.list("apps/v1", "Deployment", labels=_CONTROLLER)
    yield controller(controllers)
    yield version(controllers)
    namespace = (
        controllers[0]["metadata"]["namespace"]
        if controllers and not isinstance(controllers, Unreadable)
        else "kserve"
    )
    yield mode(cluster.get("v1", "ConfigMap", _CONFIG, namespace))
    routes = [
        cluster.list(api_version, kind, stack.cluster.namespace) for api_version, kind in _ROUTES
    ]
    yield bypass(routes, stack)


def definitions(there: dict[str, bool | Unreadable]) -> Finding:
    """Says which of KServe's kinds there are."""
    for answer in there.values():
        if isinstance(answer, Unreadable):
            return DEFINITIONS.unreadable(answer)
    missing = [kind for kind, answer in there.items() if not answer]
    if missing:
        return DEFINITIONS.missing(f"no {', no '.join(missing)}")
    return DEFINITIONS.ok(", ".join(there))


def controller(found: list[Object] | Unreadable) -> Finding:
    """Says whether KServe's controller is available."""
    if isinstance(found, Unreadable):
        return CONTROLLER.unreadable(found)
    if not found:
        return CONTROLLER.missing(f"no Deployment with label {_CONTROLLER}")
    metadata = found[0]["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    if not found[0].get("status", {}).get("availableReplicas"):
        return CONTROLLER.wrong(f"{name} has no available pod")
    return CONTROLLER.ok(f"{name} is available")


def version(found: list[Object] | Unreadable) -> Finding:
    """Says which version the controller is, by its image's tag or its label."""
    if isinstance(found, Unreadable):
        return VERSION.unreadable(found)
    if not found:
        return VERSION.unknown("there is no controller")
    seen = version_of(found[0], "manager")
    if seen is None:
        return VERSION.unknown("neither the image's tag nor a label tells it", needed=False)
    numbers = tuple(int(part) for part in seen.split(".")[:2])
    return VERSION.ok(seen) if numbers >= OLDEST else VERSION.wrong(seen)


def version_of(deployment: Object, container: str) -> str | None:
    """Returns `0.20.0` by the tag of a container's image, else by the usual label."""
    images = [
        it["image"]
        for it in deployment["spec"]["template"]["spec"]["containers"]
        if it["name"] == container
    ]
    label = deployment["metadata"].get("labels", {}).get("app.kubernetes.io/version", "")
    for said in (*(image.rpartition(":")[2] for image in images), label):
        match = re.fullmatch(r"v?(\d+\.\d+\.\d+\S*)", said)
        if match:
            return match[1]
    return None


def mode(config: Object | Unreadable | None) -> Finding:
    """Says what KServe is set to; our InferenceServices choose Standard mode themselves."""
    if isinstance(config, Unreadable):
        return MODE.unreadable(config)
    if config is None:
        return MODE.missing(f"no ConfigMap {_CONFIG}")
    try:
        data: dict[str, str] = config.get("data", {})
        default = str(json.loads(data["deploy"])["defaultDeploymentMode"])
        ingress: dict[str, Any] = json.loads(data["ingress"])
    except (KeyError, ValueError) as error:
        return MODE.wrong(f"ConfigMap {_CONFIG} cannot be read: {type(error).__name__}: {error}")
    own = (
        "makes no routes of its own"
        if ingress.get("disableIngressCreation")
        else "makes routes of its own, but none for ours: they are labelled cluster-local"
    )
    return MODE.ok(f"default {default}, ours ask for Standard; KServe {own}")


def bypass(routes: list[list[Object] | Unreadable], stack: Stack) -> Finding:
    """Says which routes lead to a declared version and are not ours.

    Args:
        routes: all in the namespace, by kind.
        stack: what is declared.
    """
    for answer in routes:
        if isinstance(answer, Unreadable):
            return BYPASS.unreadable(answer)
    versions = {
        inference_service_name(name, version)
        for name, service in stack.services.items()
        for version in service.versions
    }
    found: list[str] = []
    for route in chain.from_iterable(it for it in routes if not isinstance(it, Unreadable)):
        led_to = sorted({_version_service(name) for name in _services(route)} & versions)
        if led_to and not _is_ours(route, stack):
            name = f"{route['kind']} {route['metadata']['name']}"
            found.append(f"{name} leads to {', '.join(led_to)}")
    if found:
        return BYPASS.wrong("; ".join(found))
    return BYPASS.ok("no other route leads to a declared version")


def _is_ours(route: Object, stack: Stack) -> bool:
    metadata = route["metadata"]
    service = metadata.get("annotations", {}).get(f"{API_PREFIX}/service")
    if metadata["name"] in map(known_route_name, stack.services):
        return True
    return route["kind"] == "HTTPRoute" and service == metadata["name"] in stack.services


def _version_service(name: str) -> str:
    """Returns the InferenceService of a Service that KServe made."""
    return name.partition(".")[0].removesuffix("-predictor")


def _services(node: Any) -> Iterable[str]:
    """Yields the names of Services anywhere in a route."""
    if isinstance(node, list):
        for child in node:
            yield from _services(child)
    elif isinstance(node, dict):
        for key, child in node.items():
            references = child if isinstance(child, list) else [child]
            if key in {"backendRefs", "backendRef", "service"}:
                yield from (it["name"] for it in references if isinstance(it, dict))
            if key == "destination" and isinstance(child, dict):
                yield str(child.get("host", ""))
            yield from _services(child)
