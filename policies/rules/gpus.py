"""Rules about GPUs: how many there may be, and who shares one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from pulumi_policy import Severity
from pulumi_policy.proxy import UnknownValueError

from rules.node_pools import NodePool, node_pools
from rules.pods import Container, Pod, containers, pods
from rules.policy import Options, resource_policy, stack_policy
from rules.reading import (
    Declared,
    Finding,
    NotKnown,
    Properties,
    at,
    each,
    mapping,
    mappings,
    members,
    number,
    sequence,
)

_TOPIC = "gpus"
_SHARE_GROUP = "modelramp.dev/share-group"
_HOST = "kubernetes.io/hostname"
_QUOTA = re.compile(r"(?:requests|limits)\.(.+)")
_GPU = re.compile(r"^(nvidia\.com/.+|[\w.-]*gpu[\w.-]*/.+|[\w.-]+/gpu.*)$", re.IGNORECASE)
_WHOLE = re.compile(r"^[\w.-]+/gpu$", re.IGNORECASE)
_SEES_GPUS = "NVIDIA_VISIBLE_DEVICES"
_NO_GPUS = ("", "none", "void")

Found = Iterator[tuple[Declared | None, Finding]]


def _caps(resources: Sequence[Declared]) -> tuple[dict[str, tuple[Declared, float]], list[Finding]]:
    """Returns the cap of each pool with one of its resources, and what is not known of pools.

    A pool's nodes and its quota both bound it; the larger one counts, and nodes add up.
    """
    nodes: dict[str, tuple[Declared, float]] = {}
    unknown: list[Finding] = []
    for pool in node_pools(resources):
        if isinstance(pool, NotKnown):
            unknown.append(pool)
        elif pool.most_gpus:
            before = nodes.get(pool.pool, (pool.declared, 0))[1]
            nodes[pool.pool] = (pool.declared, before + pool.most_gpus)
    caps = dict(nodes)
    for declared in resources:
        try:
            for name, resource, most in _quotas(declared):
                if _WHOLE.match(resource):
                    caps[name] = max(
                        caps.get(name, (declared, 0)), (declared, most), key=lambda it: it[1]
                    )
                elif name not in nodes:
                    unknown.append(NotKnown(f"{declared.name} counts shares of GPUs, not GPUs"))
        except UnknownValueError as error:
            unknown.append(NotKnown(f"{declared.name}: {error.message}"))
    return caps, unknown


def _quotas(declared: Declared) -> Iterator[tuple[str, str, float]]:
    """Yields pool, resource and number of what a quota lets pods ask for."""
    if declared.kind != "resourcequota":
        return
    scopes = mappings(at(declared.spec, "scopeSelector", "matchExpressions"))
    classes = [
        str(it) for scope in scopes for it in sequence(scope.get("values")) if it is not None
    ]
    name = classes[0] if len(classes) == 1 else declared.object_name
    hard = mapping(declared.spec.get("hard"))
    for key in hard:
        found = _QUOTA.fullmatch(str(key))
        if found and _GPU.match(found[1]):
            yield name, found[1], number(hard[key], math.inf)


def _pool_cap(resources: Sequence[Declared], options: Options) -> Found:
    at_most = options.get("atMost", 8)
    caps, unknown = _caps(resources)
    for pool in node_pools(resources):
        if isinstance(pool, NodePool) and pool.most_gpus is None:
            yield pool.declared, f"nothing limits the GPUs of {pool.pool}"
    for name, (declared, most) in caps.items():
        if most > at_most:
            yield declared, f"{name} may grow to {most:g} GPUs; at most {at_most:g} are allowed"
    yield from ((None, it) for it in unknown)


def _total_cap(resources: Sequence[Declared], options: Options) -> Found:
    at_most = options.get("atMost", 16)
    caps, unknown = _caps(resources)
    total = sum(most for _, most in caps.values())
    if total > at_most:
        pools = ", ".join(f"{name} {most:g}" for name, (_, most) in sorted(caps.items()))
        yield None, f"all pools together may grow to {total:g} GPUs ({pools}); at most {at_most:g}"
    yield from ((None, it) for it in unknown)


def _apart(declared: Declared, _: Options) -> Iterator[Finding]:
    if declared.kind == "configmap":
        yield from each(_plugin_configs(declared), _slices)
        return
    yield from each(pods(declared), lambda it: _kept_apart(declared, it))


def _kept_apart(declared: Declared, pod: Pod) -> Iterator[Finding]:
    where, spec = pod.where, pod.spec
    own = [
        it for it in containers(declared) if isinstance(it, Container) and it.pod.where == pod.where
    ]
    asking = [it for it in own if _asks(it)]
    for container in own:
        if container not in asking and _sees_all(container):
            yield f"{container.where} sees all GPUs of its node without asking for one"
    if not asking and "nvidia" in str(spec.get("runtimeClassName") or ""):
        yield f"{where} runs under NVIDIA's runtime, which shows all GPUs, without asking for one"
    if not asking and not sequence(spec.get("resourceClaims")):
        return
    group = pod.label(_SHARE_GROUP)
    if not group:
        yield f"{where} has GPUs and no label {_SHARE_GROUP}"
    elif not any(_is_apart(it, group) for it in _terms(spec)):
        yield f"{where} has GPUs and may land beside another share group than {group}"
    if not spec.get("priorityClassName"):
        yield f"{where} has GPUs and no priorityClassName, so no quota of a pool counts it"
    if spec.get("nodeName"):
        yield f"{where} names its node, so no scheduler keeps it apart"
    yield from (
        f"{where} tolerates nodes of other share groups"
        for it in mappings(spec.get("tolerations"))
        if _tolerates_others(it, group)
    )


def _asks(container: Container) -> bool:
    resources = mapping(container.props.get("resources"))
    return any(
        _GPU.match(str(it))
        for side in ("limits", "requests")
        for it in mapping(resources.get(side))
    )


def _sees_all(container: Container) -> bool:
    return any(
        it.get("name") == _SEES_GPUS
        and ("valueFrom" in it or str(it.get("value") or "").lower() not in _NO_GPUS)
        for it in mappings(container.props.get("env"))
    )


def _terms(spec: Properties) -> list[Properties]:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return mappings(at(spec, "affinity", "podAntiAffinity", required))


def _is_apart(term: Properties, group: str) -> bool:
    """Whether a term keeps all pods of other groups away, in all namespaces."""
    expressions = mappings(at(term, "labelSelector", "matchExpressions"))
    return (
        term.get("topologyKey") == _HOST
        and term.get("namespaceSelector") is not None
        and not mapping(term.get("namespaceSelector"))
        and not mapping(at(term, "labelSelector", "matchLabels"))
        and bool(expressions)
        and all(_is_of_others(it, group) for it in expressions)
    )


def _is_of_others(expression: Properties, group: str) -> bool:
    if expression.get("key") != _SHARE_GROUP:
        return False
    operator = expression.get("operator")
    return operator == "Exists" or (
        operator == "NotIn" and [*sequence(expression.get("values"))] == [group]
    )


def _tolerates_others(toleration: Properties, group: str) -> bool:
    key = toleration.get("key") or ""
    if key not in ("", _SHARE_GROUP):
        return False
    return key == "" or toleration.get("operator") == "Exists" or toleration.get("value") != group


def _plugin_configs(declared: Declared) -> Iterator[Properties | NotKnown]:
    """Yields what a ConfigMap may say to NVIDIA's device plugin."""
    for _, text in members(mapping(declared.props.get("data"))):
        if isinstance(text, NotKnown):
            continue  # a certificate, a password: hardly ever this
        try:
            config = mapping(yaml.safe_load(str(text))) if "sharing" in str(text) else {}
        except yaml.YAMLError:
            continue
        yield mapping(config.get("sharing"))


def _slices(sharing: Properties) -> Iterator[Finding]:
    for how in ("timeSlicing", "mps"):
        shared = mapping(sharing.get(how))
        if mappings(shared.get("resources")) and shared.get("renameByDefault") is not True:
            yield (
                f"{how} hands out parts of GPUs to whoever asks for a whole one: "
                "renameByDefault is not true"
            )


def _most(what: str, default: int) -> dict[str, dict[str, Any]]:
    return {
        "atMost": {"type": "number", "minimum": 0, "default": default, "description": what},
    }


POLICIES = [
    stack_policy(
        _TOPIC,
        _pool_cap,
        name="gpu-cap-of-a-pool",
        title="A cap on the GPUs of each pool",
        description="Every pool of GPUs should have a cap, and none should be too large.",
        severity=Severity.HIGH,
        remediation="Lower max or maxGpus of the pool, or set limits of the Karpenter NodePool.",
        options=_most("GPUs of one pool", 8),
    ),
    stack_policy(
        _TOPIC,
        _total_cap,
        name="gpu-cap-in-total",
        title="A cap on all GPUs",
        description="All pools of GPUs together should not be too large.",
        severity=Severity.HIGH,
        remediation="Lower the caps of pools.",
        options=_most("GPUs of all pools", 16),
    ),
    resource_policy(
        _TOPIC,
        _apart,
        name="no-shared-gpu",
        title="No GPU for unrelated services",
        description="Services that do not belong together should never share a GPU.",
        severity=Severity.HIGH,
        remediation="Declare the GPUs as runtime.gpu of a service, with shareGroup for services "
        "that may share; both label and anti-affinity follow.",
    ),
]
