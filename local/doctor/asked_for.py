"""What only some stacks ask for: runtimes, autoscalers, GPU nodes."""

from __future__ import annotations

from collections.abc import Iterator

from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import Cluster, Object
from models.gpu_pool import KarpenterPool
from models.stack import Stack

RUNTIMES = Requirement(
    "what some stacks ask for",
    "runtimes of KServe",
    "kinds of runtime other than mlflow and custom are ClusterServingRuntimes",
    "install KServe's chart kserve-runtime-configs with kserve.servingruntime.enabled=true; "
    "kserve-openvino is in config/runtimes of its sources",
)
RESOURCE_METRICS = Requirement(
    "what some stacks ask for",
    "resource metrics",
    "scaling by cpu or memory reads them",
    "install metrics-server",
)
KEDA = Requirement(
    "what some stacks ask for",
    "KEDA",
    "scaling by requests, queue or tokens is a ScaledObject",
    "install KEDA before KServe, or restart KServe's controller: it looks for KEDA when it starts",
)
KARPENTER = Requirement(
    "what some stacks ask for",
    "Karpenter",
    "GPU pools of provider karpenter are its NodePools",
    "install Karpenter 1.0 or later, and let its controller pass the nodes' role",
)


def checks(cluster: Cluster, stack: Stack) -> Iterator[Finding]:
    """Checks what this stack asks for; what it does not ask for is well."""
    found = cluster.list("serving.kserve.io/v1alpha1", "ClusterServingRuntime")
    yield runtimes(found, stack)
    metrics = {
        service.runtime.scaling.metric
        for service in stack.services.values()
        if service.runtime.scaling
    }
    resource, keda = metrics & {"cpu", "memory"}, metrics - {"cpu", "memory"}
    karpenter = {name for name, it in stack.gpu_pools.items() if isinstance(it, KarpenterPool)}
    for requirement, asked, api_version, kind in (
        (RESOURCE_METRICS, resource, "metrics.k8s.io/v1beta1", "PodMetrics"),
        (KEDA, keda, "keda.sh/v1alpha1", "ScaledObject"),
        (KARPENTER, karpenter, "karpenter.sh/v1", "NodePool"),
    ):
        if not asked:
            yield requirement.ok("not asked for")
            continue
        has = cluster.has(api_version, kind)
        if isinstance(has, Unreadable):
            yield requirement.unreadable(has)
        elif has:
            yield requirement.ok(f"has {kind}; for {', '.join(sorted(asked))}")
        else:
            yield requirement.missing(f"no {kind}, asked for by {', '.join(sorted(asked))}")


def runtimes(found: list[Object] | Unreadable, stack: Stack) -> Finding:
    """Says whether every runtime that services name is there."""
    asked = {
        runtime: name
        for name, service in stack.services.items()
        if (runtime := service.runtime.server.runtime)
    }
    if not asked:
        return RUNTIMES.ok("not asked for")
    if isinstance(found, Unreadable):
        return RUNTIMES.unreadable(found)
    there = {it["metadata"]["name"] for it in found}
    missing = [f"{runtime} (of {name})" for runtime, name in asked.items() if runtime not in there]
    return RUNTIMES.missing(", ".join(missing)) if missing else RUNTIMES.ok(", ".join(asked))
