"""All checks of one stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from local.doctor import (
    asked_for,
    envoy_gateway,
    gateway,
    kserve,
    kubernetes,
    machine,
    metrics,
    models_namespace,
)
from local.doctor.findings import Finding, Requirement, Unreadable
from local.doctor.reading import KubernetesCluster, PrometheusMetrics
from local.home import Home
from local.plugins.kubeconfig import KubeconfigError, access, load, server_of
from models.errors import ConfigError
from models.stack import Stack, load_stack

STACK_FILE = Requirement(
    "machine",
    "stack file",
    "everything else follows from it",
    "correct what is named; README.md shows a whole one",
)


def examine(home: Home, file: Path) -> Iterator[Finding]:
    """Checks what a stack's target needs; reads only.

    Args:
        home: the project.
        file: of the stack.
    """
    try:
        stack = load_stack(file)
    except ConfigError as error:
        yield STACK_FILE.wrong(str(error))
        yield from machine.checks(home, embedded=False)
        return
    services = ", ".join(stack.services) or "none"
    yield STACK_FILE.ok(f"target {stack.cluster.target}, services: {services}")
    embedded = stack.cluster.target == "embedded"
    yield from machine.checks(home, embedded=embedded)
    if not embedded:
        yield from _cluster_checks(stack)


def _cluster_checks(stack: Stack) -> Iterator[Finding]:
    context = stack.cluster.context
    server: str | Unreadable
    try:
        config = load(None)
        to = access(config, context, None)
        server = server_of(config, context, None) or to.server
    except KubeconfigError as error:
        server = to = Unreadable(str(error), kubernetes.CONTEXT.remedy)
    cluster = KubernetesCluster(to)
    yield from kubernetes.checks(cluster, stack.cluster.namespace, context, server)
    yield from kserve.checks(cluster, stack)
    way = gateway.read(cluster, stack)
    yield from gateway.checks(cluster, stack, way)
    yield from envoy_gateway.checks(cluster, stack, way)
    yield from metrics.checks(cluster, PrometheusMetrics(stack.cluster.prometheus or ""), stack)
    yield from models_namespace.checks(cluster, stack)
    yield from asked_for.checks(cluster, stack)
