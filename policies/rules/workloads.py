"""Rules about pods, wherever they are declared: what they may do, use and answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pulumi_policy import Severity

from rules.pods import COMPONENTS, JOBS, MODEL_CONTAINER, RUNTIMES, Container, Pod, containers, pods
from rules.policy import RISKS, Options, each_of, resource_policy, stack_policy
from rules.reading import (
    Declared,
    Finding,
    at,
    each,
    mapping,
    mappings,
    number,
    sequence,
)
from rules.rollouts import rollouts
from rules.route import SERVICE_KIND, Rollout, service_name

_TOPIC = "workloads"
_NOTHING = re.compile(r"0*(\.0*)?[A-Za-z]*")
_REPLICATED = frozenset({"deployment", "statefulset", "replicaset", "rollout"})
_AUTOSCALERS = {
    "horizontalpodautoscaler": ("minReplicas", 1),
    "scaledobject": ("minReplicaCount", 0),
}
"""Where an autoscaler says the least replicas, and its default."""


def _not_root(declared: Declared, _: Options) -> Iterator[Finding]:
    yield from each(containers(declared), _root)


def _root(container: Container) -> Iterator[Finding]:
    own = mapping(container.props.get("securityContext"))
    around = mapping(container.pod.spec.get("securityContext"))
    if own.get("runAsNonRoot", around.get("runAsNonRoot")) is not True:
        yield f"{container.where} may run as root: runAsNonRoot is not true"
    user = own.get("runAsUser", around.get("runAsUser"))
    if user is not None and number(user, 0) == 0:
        yield f"{container.where} runs as root: runAsUser is 0"


def _no_escalation(declared: Declared, options: Options) -> Iterator[Finding]:
    added = frozenset(options.get("capabilities", []))
    yield from each(containers(declared), lambda it: _escalates(it, added))
    yield from each(pods(declared), _beyond_the_pod)
    if declared.kind == "persistentvolume" and declared.spec.get("hostPath") is not None:
        yield "the volume is a folder of the node"


def _escalates(container: Container, allowed: frozenset[str]) -> Iterator[Finding]:
    own = mapping(container.props.get("securityContext"))
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{container.where} may gain privileges: allowPrivilegeEscalation is not false"
    if own.get("privileged") not in (None, False):
        yield f"{container.where} is privileged"
    more = sorted(set(map(str, sequence(at(own, "capabilities", "add")))) - allowed)
    if more:
        yield f"{container.where} adds the capabilities {', '.join(more)}"
    if (own.get("procMount") or "Default") != "Default":
        yield f"{container.where} sees all of /proc: procMount is {own['procMount']}"


def _beyond_the_pod(pod: Pod) -> Iterator[Finding]:
    where, spec = pod.where, pod.spec
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key) not in (None, False):
            yield f"{where} uses the node's own: {key} is true"
    if spec.get("hostUsers") is True:
        yield f"{where} asks for the node's users: hostUsers is true"
    for volume in mappings(spec.get("volumes")):
        if volume.get("hostPath") is not None:
            yield f"{where} mounts a folder of the node: the volume {volume.get('name')}"


def _limited(declared: Declared, options: Options) -> Iterator[Finding]:
    needed = options.get("resources", ["cpu", "memory"])

    def check(container: Container) -> Iterator[Finding]:
        # The InferenceService says how large the runtime's own container is.
        merged = declared.kind in RUNTIMES and container.props.get("name") == MODEL_CONTAINER
        if merged:
            return
        limits = mapping(at(container.props, "resources", "limits"))
        # A limit of 0 is none.
        missing = [it for it in needed if _NOTHING.fullmatch(str(limits.get(it) or 0))]
        if missing:
            yield f"{container.where} has no limit of {' and '.join(missing)}"

    yield from each(containers(declared), check)


def _probed(declared: Declared, options: Options) -> Iterator[Finding]:
    if declared.kind in JOBS:  # they end by themselves
        return
    runtimes = options.get("runtimes", ["modelramp-mlflow"])

    def check(container: Container) -> Iterator[Finding]:
        by_runtime = container.is_model and container.props.get("runtime") in runtimes
        if container.is_init or by_runtime:
            return
        probes = ("readinessProbe", "livenessProbe")
        missing = [it for it in probes if not container.props.get(it)]
        if missing:
            yield f"{container.where} has no {' and no '.join(missing)}"

    yield from each(containers(declared), check)


def _replicated(
    resources: Sequence[Declared], options: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    least, risks = options.get("atLeast", 2), options.get("risks", list(RISKS))
    from_percent = options.get("candidateFromPercent", 50)
    named = {
        (route.namespace, name): (rollout, version)
        for route, rollout in rollouts(resources)[0]
        for name, version in _services(route, rollout)
    }

    def check(declared: Declared) -> Iterator[Finding]:
        if declared.kind == SERVICE_KIND:
            found = named.get((declared.namespace, declared.object_name))
            if found and not _carries(*found, from_percent, risks):
                return
            for name in COMPONENTS:
                if component := mapping(declared.spec.get(name)):
                    yield from _too_few(name, component.get("minReplicas"), least)
        elif declared.kind == "llminferenceservice":
            yield from _too_few("it", declared.spec.get("replicas"), least)
        elif declared.kind in _REPLICATED:
            replicas = _least_of_autoscaler(declared, resources)
            if replicas is None:
                replicas = declared.spec.get("replicas")
            if replicas is not None or not declared.is_patch:
                yield from _too_few("it", replicas, least)

    yield from each_of(resources, check)


def _services(route: Declared, rollout: Rollout) -> Iterator[tuple[str, str]]:
    """Yields name and version of the InferenceServices of a rollout."""
    if route.kind == SERVICE_KIND:  # Knative's only one
        yield route.object_name, rollout.stable
        return
    for version in rollout.versions:
        yield service_name(rollout.service, version), version


def _carries(rollout: Rollout, version: str, from_percent: float, risks: Sequence[str]) -> bool:
    """Whether a version carries enough traffic to need several pods."""
    if rollout.risk not in risks or rollout.is_withdrawn:
        return False
    if version == rollout.candidate:
        return rollout.percent >= from_percent
    return version == rollout.stable


def _least_of_autoscaler(declared: Declared, resources: Sequence[Declared]) -> Any:
    """Returns the least replicas that an autoscaler leaves; None where there is none."""
    for it in resources:
        if it.kind not in _AUTOSCALERS:
            continue
        if at(it.spec, "scaleTargetRef", "name") == declared.object_name:
            key, default = _AUTOSCALERS[it.kind]
            return number(it.spec.get(key), default)
    return None


def _too_few(what: str, declared: Any, least: float) -> Iterator[Finding]:
    replicas = number(declared, 1)  # Kubernetes's default, and KServe's
    if replicas < least:
        yield f"{what} may go down to {replicas:g} replicas; at least {least:g} are asked for"


POLICIES = [
    resource_policy(
        _TOPIC,
        _not_root,
        name="pods-not-as-root",
        title="No container as root",
        description="No container should run as root.",
        severity=Severity.HIGH,
        remediation="Set securityContext.runAsNonRoot to true and no runAsUser of 0, on the pod "
        "or on each container.",
    ),
    resource_policy(
        _TOPIC,
        _no_escalation,
        name="pods-without-privileges",
        title="No privileges",
        description="No container should have, or be able to gain, more privileges than a user.",
        severity=Severity.CRITICAL,
        remediation="Set securityContext.allowPrivilegeEscalation to false on each container, and "
        "use neither privileged, added capabilities, host namespaces nor hostPath.",
        options={
            "capabilities": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "capabilities that may be added",
            }
        },
    ),
    resource_policy(
        _TOPIC,
        _limited,
        name="pods-have-limits",
        title="Limits for every container",
        description="Every container should have limits of what it uses.",
        severity=Severity.MEDIUM,
        remediation="Set resources.limits on each container, also on init containers.",
        options={
            "resources": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["cpu", "memory"],
                "description": "what must be limited",
            }
        },
    ),
    resource_policy(
        _TOPIC,
        _probed,
        name="pods-have-probes",
        title="Health probes for every container",
        description="Every container that goes on running should have health probes.",
        severity=Severity.MEDIUM,
        remediation="Give each container a readinessProbe and a livenessProbe.",
        options={
            "runtimes": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["modelramp-mlflow"],
                "description": "ServingRuntimes that have the probes of their models",
            }
        },
    ),
    stack_policy(
        _TOPIC,
        _replicated,
        name="at-least-two-replicas",
        title="At least two replicas",
        description="What carries traffic should have at least two replicas.",
        severity=Severity.HIGH,
        remediation="Set runtime.replicas of the service, or minReplicas or replicas of the "
        "resource, to 2 or more.",
        options={
            "atLeast": {
                "type": "integer",
                "minimum": 1,
                "default": 2,
                "description": "least replicas",
            },
            "risks": {
                "type": "array",
                "items": {"type": "string", "enum": list(RISKS)},
                "default": list(RISKS),
                "description": "risks of the services that it is for",
            },
            "candidateFromPercent": {
                "type": "number",
                "minimum": 0,
                "maximum": 100,
                "default": 50,
                "description": "share of traffic from which on it is for the candidate, percent",
            },
        },
    ),
]
