"""The namespace of the models: what pods there may read, run, and have room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from local.cluster.images import REGISTRY
from local.cluster.layout import NODE_LABEL
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Object
from models.artifact_store import ArtifactStore, S3CompatibleStore
from models.names import SERVICE_LABEL
from models.stack import Stack

_ACCOUNT = "default"  # our InferenceServices name no other, without `artifacts` in the stack
_SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  the name, not the key
_ENDPOINT = "serving.kserve.io/s3-endpoint"
_ROLE = "eks.amazonaws.com/role-arn"

CREDENTIALS = Requirement(
    "namespace",
    "artifact credentials",
    "pods fetch their model from S3 when they start",
    "declare modelramp:artifacts; or name a Secret with KServe's S3 annotations under `secrets` of "
    "the ServiceAccount default, or give that a role; see docs/clusters.md#artifacts",
)
CALLERS = Requirement(
    "namespace",
    "callers",
    "a NetworkPolicy lets in the namespaces in modelramp:cluster.callers, and no other",
    "name the namespaces of the gateway's proxies and of Prometheus: modelramp:cluster.callers",
)
_CALLING = {
    "gateway.envoyproxy.io/owning-gateway-name": "Envoy",
    "app.kubernetes.io/name=prometheus": "Prometheus",
}
"""Labels of the pods that have to talk to models."""

IMAGE = Requirement(
    "namespace",
    "server image",
    "it runs the models; only a node can tell whether it can be pulled",
    "push it to a registry that the nodes reach, and name it in the stack: "
    "modelramp:cluster.serverImage; see docs/clusters.md#server-image",
    needed=False,
)
CAPACITY = Requirement(
    "namespace",
    "capacity",
    "a pod without room waits, and its version is never ready",
    "add nodes, or ask for less: runtime.cpu, runtime.memory, runtime.replicas",
    needed=False,
)


@dataclass(frozen=True)
class Room:
    """Processors and bytes of memory."""

    cpu: Decimal
    memory: Decimal

    def less(self, other: Room) -> Room:
        """Returns what is left."""
        return Room(self.cpu - other.cpu, self.memory - other.memory)

    def holds(self, other: Room) -> bool:
        """Whether another fits into it."""
        return self.cpu >= other.cpu and self.memory >= other.memory


def checks(cluster: Cluster, stack: Stack) -> Iterator[Finding]:
    """Checks the namespace of the models."""
    namespace = stack.cluster.namespace
    nodes = cluster.list("v1", "Node")
    if stack.artifacts:
        yield declared_credentials(cluster, stack.artifacts, namespace)
    else:
        account = cluster.get("v1", "ServiceAccount", _ACCOUNT, namespace)
        yield credentials(account, _key_names(cluster, account, namespace), on_eks=_is_eks(nodes))
    yield callers(
        {who: cluster.list("v1", "Pod", labels=label) for label, who in _CALLING.items()},
        stack.cluster.callers,
    )
    yield image(stack.cluster.server_image, nodes)
    yield capacity(nodes, cluster.list("v1", "Pod"), stack)


def _key_names(
    cluster: Cluster, account: Object | Unreadable | None, namespace: str
) -> dict[str, set[str] | Unreadable | None]:
    """Returns the names of keys and annotations of an account's Secrets; values are not kept."""
    names: dict[str, set[str] | Unreadable | None] = {}
    if isinstance(account, dict):
        for reference in account.get("secrets", ()):
            secret = cluster.get("v1", "Secret", reference["name"], namespace)
            if secret is None or isinstance(secret, Unreadable):
                names[reference["name"]] = secret
            else:
                annotations = secret["metadata"].get("annotations", {})
                names[reference["name"]] = {*secret.get("data", {}), *annotations}
    return names


def _is_eks(nodes: list[Object] | Unreadable) -> bool:
    return not isinstance(nodes, Unreadable) and any(
        node["spec"].get("providerID", "").startswith("aws://") for node in nodes
    )


def declared_credentials(cluster: Cluster, store: ArtifactStore, namespace: str) -> Finding:
    """Says what of a declared store's access is not made by the stack itself."""
    name = store.existing_secret if isinstance(store, S3CompatibleStore) else None
    if name is None:
        return CREDENTIALS.ok("made by the stack: modelramp:artifacts")
    secret = cluster.get("v1", "Secret", name, namespace)
    if isinstance(secret, Unreadable):
        return CREDENTIALS.unreadable(secret)
    if secret is None:
        return CREDENTIALS.missing(f"no Secret {name}, which modelramp:artifacts names")
    if _SECRET_KEY not in secret.get("data", {}):
        return CREDENTIALS.wrong(f"no {_SECRET_KEY} in Secret {name}")
    return CREDENTIALS.ok(f"Secret {name}, named by modelramp:artifacts")


def credentials(
    account: Object | Unreadable | None,
    secrets: Mapping[str, set[str] | Unreadable | None],
    *,
    on_eks: bool,
) -> Finding:
    """Says by what pods may read the artifact store.

    Args:
        account: the service account of the pods.
        secrets: names of keys and annotations in each of its Secrets.
        on_eks: whether nodes are Amazon's, where rights may be bound outside the cluster.
    """
    if isinstance(account, Unreadable):
        return CREDENTIALS.unreadable(account)
    if account is None:
        return CREDENTIALS.missing(f"no ServiceAccount {_ACCOUNT}")
    for name, found in secrets.items():
        if found is None:
            return CREDENTIALS.missing(f"ServiceAccount {_ACCOUNT} names Secret {name}: it is gone")
    for name, found in secrets.items():
        if isinstance(found, set) and _SECRET_KEY in found:
            where = "with an endpoint" if _ENDPOINT in found else "for Amazon's own S3"
            return CREDENTIALS.ok(f"Secret {name}, {where}")
    if _ROLE in account["metadata"].get("annotations", {}):
        return CREDENTIALS.ok(f"ServiceAccount {_ACCOUNT} has a role of AWS (IRSA)")
    for found in secrets.values():
        if isinstance(found, Unreadable):
            return CREDENTIALS.unreadable(found)
    if on_eks:
        return CREDENTIALS.unknown(
            "no Secret and no role at the ServiceAccount; EKS Pod Identity and the nodes' own "
            "role cannot be seen from here",
            needed=False,
        )
    if secrets:
        return CREDENTIALS.wrong(f"no {_SECRET_KEY} in Secret {', '.join(secrets)}")
    return CREDENTIALS.missing(f"ServiceAccount {_ACCOUNT} names no Secret and has no role")


def callers(pods: Mapping[str, list[Object] | Unreadable], allowed: Sequence[str]) -> Finding:
    """Says whether everyone who has to talk to the models is let in.

    Args:
        pods: of each caller, by who it is.
        allowed: the declared namespaces.
    """
    outside: set[str] = set()
    for who, found in pods.items():
        if isinstance(found, Unreadable):
            return CALLERS.unreadable(found)
        namespaces = {it["metadata"]["namespace"] for it in found}
        outside |= {f"{who} in {name}" for name in namespaces.difference(allowed)}
    if outside:
        return CALLERS.wrong(f"not let in: {', '.join(sorted(outside))}")
    return CALLERS.ok(f"let in: {', '.join(allowed)}")


def image(declared: str, nodes: list[Object] | Unreadable) -> Finding:
    """Says which image is declared, and whether a node has it."""
    if isinstance(nodes, Unreadable):
        return IMAGE.unreadable(nodes)
    having = [node["metadata"]["name"] for node in nodes if declared in _image_names(node)]
    if having:
        return IMAGE.ok(f"{declared}, on {', '.join(having)}")
    is_local = any(NODE_LABEL in node["metadata"].get("labels", {}) for node in nodes)
    if declared.startswith(f"{REGISTRY}/") and not is_local:
        return IMAGE.wrong(f"{declared} is known to the local cluster only")
    return IMAGE.unknown(f"{declared}: no node says that it has it; it may still be pulled")


def _image_names(node: Object) -> set[str]:
    return {name for it in node["status"].get("images", ()) for name in it.get("names") or ()}


def capacity(
    nodes: list[Object] | Unreadable, pods: list[Object] | Unreadable, stack: Stack
) -> Finding:
    """Says whether all declared pods would find room together."""
    for answer in (nodes, pods):
        if isinstance(answer, Unreadable):
            return CAPACITY.unreadable(answer)
    assert not isinstance(nodes, Unreadable)  # noqa: S101  said above
    assert not isinstance(pods, Unreadable)  # noqa: S101
    wanted = {
        name: [_room(service.runtime.cpu, service.runtime.memory)]
        * (service.runtime.replicas * len(service.served))
        for name, service in stack.services.items()
        if service.served
    }
    if not wanted:
        return CAPACITY.ok("no service has a rollout yet")
    rooms = _left(nodes, [pod for pod in pods if not _is_declared(pod, stack)])
    homeless = _without_room(rooms, wanted)
    cpu, memory = sum(it.cpu for it in rooms), sum(it.memory for it in rooms)
    left = f"{float(cpu):g} CPU and {memory / 2**30:.1f} GiB for them on the nodes"
    if homeless:
        lacking = ", ".join(f"{count} of {name}" for name, count in homeless.items())
        return CAPACITY.wrong(f"no room for pods: {lacking}; {left}")
    total = ", ".join(f"{len(them)} of {name}" for name, them in wanted.items())
    return CAPACITY.ok(f"pods: {total}; {left}")


def _room(cpu: Any, memory: Any) -> Room:
    # A second to import, of which only this is needed.
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415

    return Room(parse_quantity(cpu), parse_quantity(memory))


def _is_declared(pod: Object, stack: Stack) -> bool:
    """Whether a pod is one of those that are counted as wanted."""
    metadata = pod["metadata"]
    service = metadata.get("labels", {}).get(SERVICE_LABEL)
    return metadata["namespace"] == stack.cluster.namespace and service in stack.services


def _left(nodes: Sequence[Object], others: Sequence[Object]) -> list[Room]:
    """Returns what others leave of each node that takes pods."""
    rooms: dict[str, Room] = {}
    for node in nodes:
        taints = node["spec"].get("taints", ())
        closed = any(it["effect"] in {"NoSchedule", "NoExecute"} for it in taints)
        if not closed and not node["spec"].get("unschedulable"):
            has = node["status"]["allocatable"]
            rooms[node["metadata"]["name"]] = _room(has["cpu"], has["memory"])
    for pod in others:
        name = pod["spec"].get("nodeName")
        if name in rooms and pod["status"].get("phase") not in {"Succeeded", "Failed"}:
            for container in pod["spec"]["containers"]:
                asked = container.get("resources", {}).get("requests", {})
                taken = _room(asked.get("cpu", 0), asked.get("memory", 0))
                rooms[name] = rooms[name].less(taken)
    return list(rooms.values())


def _without_room(rooms: Sequence[Room], wanted: Mapping[str, Sequence[Room]]) -> dict[str, int]:
    """Returns how many pods of each service find no node, the largest placed first."""
    left = [*rooms]
    homeless: dict[str, int] = {}
    pods = [(name, pod) for name, them in wanted.items() for pod in them]
    for name, pod in sorted(pods, key=lambda it: (it[1].cpu, it[1].memory), reverse=True):
        place = next((index for index, room in enumerate(left) if room.holds(pod)), None)
        if place is None:
            homeless[name] = homeless.get(name, 0) + 1
        else:
            left[place] = left[place].less(pod)
    return homeless
