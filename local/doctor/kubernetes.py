"""The API server: which one, what it is, and what we may do there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from local.cluster import machine
from local.cluster.layout import ENDPOINTS, NODE_LABEL, Layout
from local.cluster.programs import KUBERNETES_VERSION
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Object

_TESTED = ".".join(KUBERNETES_VERSION.split(".")[:2])
_LOCAL_ENV = 'eval "$(modelramp local env --cluster)"'

CONTEXT = Requirement(
    "kubernetes",
    "context",
    "pulumi up writes to the cluster that it names",
    "set KUBECONFIG, and name one of its contexts in the stack: modelramp:cluster.context; "
    f"for the local cluster: {_LOCAL_ENV}",
)
API_SERVER = Requirement(
    "kubernetes",
    "API server",
    "everything is written there",
    f"modelramp local up --cluster, then {_LOCAL_ENV}",
)
VERSION = Requirement(
    "kubernetes",
    "Kubernetes version",
    "other versions than the tested one may behave differently",
    f"tested: {_TESTED}; others are likely to work, report what does not",
    needed=False,
)
NAMESPACE = Requirement(
    "kubernetes",
    "namespace",
    "all that is created lies in it, and Pulumi does not make it",
    "kubectl create namespace {namespace}",
)
RIGHTS = Requirement(
    "kubernetes",
    "rights",
    "pulumi up makes, changes and deletes these objects",
    "bind the role of docs/clusters.md#rights to yourself",
)
LOCAL_NODE = Requirement(
    "kubernetes",
    "local node",
    "the local cluster is made of these processes",
    "modelramp local up --cluster; logs are in ~/.cache/modelramp/cluster/logs",
)
WRITTEN = {
    "serving.kserve.io": ("inferenceservices", "servingruntimes"),
    "gateway.networking.k8s.io": ("httproutes",),
    "monitoring.coreos.com": ("podmonitors", "prometheusrules"),
    "networking.k8s.io": ("networkpolicies",),
    "policy": ("poddisruptionbudgets",),
    "": ("configmaps",),
}
"""What `components/` declares of every service, by API group."""
VERBS = ("create", "get", "list", "watch", "patch", "update", "delete")
"""What Pulumi does with them, by the official plugin or by ours; the role in docs/clusters.md."""


def checks(
    cluster: Cluster, namespace: str, context: str | None, server: str | Unreadable
) -> Iterator[Finding]:
    """Checks the API server.

    Args:
        cluster: the one that was chosen.
        namespace: of the models.
        context: what the stack names, if anything.
        server: address that the kubeconfig names, or why it names none.
    """
    yield chosen(server, context)
    if isinstance(server, Unreadable):
        yield API_SERVER.unreadable(server)
    else:
        yield answering(cluster.version(), server)
    yield version(cluster.version())
    yield namespace_there(cluster.get("v1", "Namespace", namespace), namespace)
    yield rights(
        {
            (verb, resource): cluster.may(verb, group, resource, namespace)
            for group, resources in WRITTEN.items()
            for resource in resources
            for verb in VERBS
        }
    )
    nodes = cluster.list("v1", "Node", labels=NODE_LABEL)
    if nodes and not isinstance(nodes, Unreadable):
        yield local_node(machine.status(Layout.default()))


def chosen(server: str | Unreadable, context: str | None) -> Finding:
    """Says which cluster is meant."""
    if isinstance(server, Unreadable):
        return CONTEXT.missing(server.why)
    if context:
        return CONTEXT.ok(f"{context}: {server}")
    return CONTEXT.ok(
        f"the kubeconfig's current one: {server}; name it in the stack "
        "(modelramp:cluster.context), so that pulumi up never hits another"
    )


def answering(version: str | Unreadable, server: str) -> Finding:
    """Says whether the API server answers us."""
    if not isinstance(version, Unreadable):
        return API_SERVER.ok(server)
    is_local = server == ENDPOINTS["kubernetes"]
    return API_SERVER.missing(version.why, remedy=None if is_local else version.remedy)


def version(seen: str | Unreadable) -> Finding:
    """Says whether this version of Kubernetes was tested."""
    if isinstance(seen, Unreadable):
        return VERSION.unreadable(seen)
    if seen.lstrip("v").startswith(f"{_TESTED}."):
        return VERSION.ok(seen)
    return VERSION.wrong(f"{seen}; tested: {_TESTED}")


def namespace_there(found: Object | Unreadable | None, name: str) -> Finding:
    """Says whether the namespace of the models is there to stay."""
    if isinstance(found, Unreadable):
        return NAMESPACE.unreadable(found)
    if found is None:
        return NAMESPACE.missing(
            f"no namespace {name}", remedy=NAMESPACE.remedy.format(namespace=name)
        )
    phase = found.get("status", {}).get("phase")
    if phase == "Terminating":
        return NAMESPACE.wrong(
            f"{name} is being deleted", remedy="wait until it is gone, then make it again"
        )
    return NAMESPACE.ok(name)


def rights(allowed: Mapping[tuple[str, str], bool | Unreadable]) -> Finding:
    """Says what we may not do.

    Args:
        allowed: by verb and resource, such as `create` and `httproutes`.
    """
    for answer in allowed.values():
        if isinstance(answer, Unreadable):
            return RIGHTS.unreadable(answer)
    denied: dict[str, list[str]] = {}
    for (verb, resource), answer in allowed.items():
        if not answer:
            denied.setdefault(resource, []).append(verb)
    if denied:
        named = "; ".join(f"{', '.join(verbs)} {resource}" for resource, verbs in denied.items())
        return RIGHTS.missing(f"not allowed: {named}")
    resources = ", ".join(resource for group in WRITTEN.values() for resource in group)
    return RIGHTS.ok(f"{', '.join(VERBS)}: {resources}")


def local_node(now: Mapping[str, Any] | None) -> Finding:
    """Says whether the local node's processes are up.

    Args:
        now: what `local.cluster.machine.status` returns.
    """
    if now is None:
        return LOCAL_NODE.unknown(
            "~/.cache/modelramp knows of no running node: another user or machine runs it",
            needed=False,
        )
    waiting = [name for name, process in now["processes"].items() if not process["ready"]]
    if waiting:
        return LOCAL_NODE.wrong(f"not ready: {', '.join(waiting)}")
    return LOCAL_NODE.ok(f"{len(now['processes'])} processes are up")
