"""What every pod of a model has in common: how it is kept safe, probed, spread and let be."""

from collections.abc import Collection, Mapping
from typing import Any

from models.names import SERVICE_LABEL, VERSION_LABEL

CONTAINER = "kserve-container"
"""KServe's name of the container that serves."""

HTTP_PORT = 8080
GRPC_PORT = 9000
AGENT_PORT = 9081
"""KServe's agent, before a model with a batcher or a logger."""

SCRATCH = "tmp"


def container_security(*, writable_root: bool = False, user: int | None = None) -> dict[str, Any]:
    """Returns a container's security context, within Kubernetes's `restricted` standard.

    Args:
        writable_root: whether it may write to its own file system.
        user: to run as; the image's own if absent.
    """
    return {
        **({} if user is None else {"runAsUser": user}),
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": not writable_root,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def scratch_volume() -> dict[str, Any]:
    """Returns the volume of `/tmp`, all that a container with a read-only root may write to."""
    return {"name": SCRATCH, "emptyDir": {}}


def scratch_mount() -> dict[str, Any]:
    """Returns where the scratch volume is mounted."""
    return {"name": SCRATCH, "mountPath": "/tmp"}  # noqa: S108  of the container


def probes(ready_path: str, live_path: str) -> dict[str, Any]:
    """Returns the three probes of a model server.

    Args:
        ready_path: answers 200 when the model is loaded.
        live_path: answers 200 as long as the server works.
    """
    return {
        # Fetching is over then, loading is not; how long that may take is the rollout's to say
        # (`readyDeadline`), so the kubelet waits for an hour.
        "startupProbe": {**_probe(live_path), "failureThreshold": 1800},
        "livenessProbe": {**_probe(live_path), "periodSeconds": 10},
        # Not ready from the first moment of a stop on, while requests under way are answered.
        "readinessProbe": _probe(ready_path),
    }


def _probe(path: str) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": 2,
        "timeoutSeconds": 5,
    }


def version_labels(service: str, version: str) -> dict[str, str]:
    """Returns the labels by which pods of a version are found."""
    return {SERVICE_LABEL: service, VERSION_LABEL: version}


def spread(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns constraints that put a version's pods on several zones and nodes, where there are."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(labels)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def disruption_budget(labels: Mapping[str, str]) -> dict[str, Any]:
    """Returns the spec of a PodDisruptionBudget: drained nodes end one pod of a version at a time.

    A version of one pod does not keep its node from being drained.
    """
    return {"maxUnavailable": 1, "selector": {"matchLabels": dict(labels)}}


def let_in(service: str, namespaces: Collection[str], ports: Collection[int]) -> dict[str, Any]:
    """Returns the spec of a NetworkPolicy that lets in pods of some namespaces only."""
    callers = {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": sorted(namespaces),
    }
    return {
        "podSelector": {"matchLabels": {SERVICE_LABEL: service}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"namespaceSelector": {"matchExpressions": [callers]}}],
                "ports": [{"protocol": "TCP", "port": port} for port in sorted(ports)],
            }
        ],
    }
