"""Which fields of a Kubernetes object change, and which changes make it another object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from local.plugins.properties import Properties, is_unknown

Path: TypeAlias = tuple[str | int, ...]

_MISSING = object()
_IDENTITY: tuple[Path, ...] = (("metadata", "name"), ("metadata", "namespace"))
_SELECTOR: tuple[Path, ...] = (("spec", "selector"),)
_SOURCES_OF_VOLUMES = (  # noqa: SIM905 (as a list it is a screenful)
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker "
    "gcePersistentDisk glusterfs hostPath iscsi local nfs photonPersistentDisk portworxVolume "
    "quobyte rbd scaleIO storageos vsphereVolume"
).split()
_FIXED_IN_PODS = (  # noqa: SIM905 (as a list it is a screenful)
    "affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases "
    "hostIPC hostNetwork hostPID hostname imagePullSecrets nodeName nodeSelector overhead "
    "preemptionPolicy priority priorityClassName readinessGates restartPolicy "
    "runtimeClassName schedulerName securityContext serviceAccount serviceAccountName "
    "shareProcessNamespace subdomain terminationGracePeriodSeconds volumes"
).split()
_FIXED_IN_CONTAINERS = (  # noqa: SIM905 (as a list it is a screenful)
    "args command env image imagePullPolicy lifecycle livenessProbe ports readinessProbe "
    "resources securityContext stdin stdinOnce terminationMessagePath "
    "terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
).split()


def _of_spec(*names: str) -> tuple[Path, ...]:
    return tuple(("spec", name) for name in names)


# Fields beside the identity that the official provider replaces objects for, by apiVersion and
# kind; "*" is any element of a list.
_IMMUTABLE: dict[tuple[str, str], tuple[Path, ...]] = {
    ("apps/v1", "DaemonSet"): _SELECTOR,
    ("apps/v1", "Deployment"): _SELECTOR,
    ("apps/v1", "StatefulSet"): _of_spec(
        "podManagementPolicy",
        "revisionHistoryLimit",
        "selector",
        "serviceName",
        "volumeClaimTemplates",
    ),
    ("batch/v1", "Job"): _of_spec("completions", "parallelism", "selector", "template"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (("roleRef",),),
    ("storage.k8s.io/v1", "StorageClass"): (("parameters",), ("provisioner",)),
    ("v1", "ConfigMap"): (("data",), ("binaryData",)),
    ("v1", "PersistentVolume"): _of_spec(*_SOURCES_OF_VOLUMES),
    ("v1", "PersistentVolumeClaim"): _of_spec(
        "accessModes", "selector", "storageClassName", "volumeName"
    ),
    ("v1", "Pod"): (
        *_of_spec(*_FIXED_IN_PODS),
        *(
            ("spec", containers, "*", name)
            for containers in ("containers", "initContainers")
            for name in _FIXED_IN_CONTAINERS
        ),
    ),
    ("v1", "ResourceQuota"): _of_spec("scopes"),
    ("v1", "Secret"): (("type",), ("data",), ("stringData",)),
    ("v1", "Service"): _of_spec("clusterIP"),
}
# What is left of these where the provider's options make them mutable.
_IF_MUTABLE: dict[str, tuple[Path, ...]] = {"ConfigMap": (), "Secret": (("type",),)}
# Below these, Kubernetes' own kinds keep quantities, and write them in the shortest way.
_QUANTITIES = frozenset(
    {
        "averageValue",
        "capacity",
        "default",
        "defaultRequest",
        "divisor",
        "hard",
        "limits",
        "max",
        "min",
        "overhead",
        "requests",
        "sizeLimit",
    }
)
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTORS = {"": Fraction(1), "m": Fraction(1, 1000)} | {
    letter + suffix: Fraction(base) ** power
    for base, suffix in ((1000, ""), (1024, "i"))
    for power, letter in enumerate("kMGTPE" if base == 1000 else "KMGTPE", start=1)
}


@dataclass(frozen=True)
class Difference:
    """One field that differs.

    Attributes:
        path: from the object's root; a number is an index of a list.
        kind: what happens to the field.
        replaces: whether the object must be made anew.
    """

    path: Path
    kind: Literal["ADD", "DELETE", "UPDATE"]
    replaces: bool

    @property
    def text(self) -> str:
        """The path as Pulumi writes it, such as `spec.rules[0].backendRefs[1].weight`."""
        return "".join(_segments(self.path))


def differences(
    old: Properties,
    new: Properties,
    *,
    declared: Properties | None = None,
    mutable: frozenset[str] = frozenset(),
) -> list[Difference]:
    """Compares two objects of one kind, field by field.

    Args:
        old: what is there, without what the user never declared (see `prune`).
        new: what is declared now; may hold unknown values.
        declared: what was declared before, if that is known.
        mutable: kinds whose values may change in place, of ConfigMap and Secret.
    """
    api_version, kind = str(new.get("apiVersion")), str(new.get("kind"))
    immutable = _IMMUTABLE.get((api_version, kind), ())
    if kind in mutable and not new.get("immutable"):
        immutable = _IF_MUTABLE[kind]
    fixed = (*_IDENTITY, *immutable)
    found = _compare((), old, new, fixed)
    own_kind = "." not in api_version or api_version.partition("/")[0].endswith(".k8s.io")
    return [
        difference
        for difference in found
        if not (own_kind and _is_same_quantity(difference, old, new))
        and not _is_dropped_empty(difference, new, declared)
    ]


def prune(live: Any, declared: Any) -> Any:
    """Returns the part of `live` that was declared: what others add to an object is no change."""
    if isinstance(live, dict) and isinstance(declared, dict):
        return {key: prune(value, declared[key]) for key, value in live.items() if key in declared}
    if isinstance(live, list) and isinstance(declared, list):
        return [prune(*pair) for pair in zip(live, declared, strict=False)]
    return live


def _compare(path: Path, old: Any, new: Any, fixed: Sequence[Path]) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _compare((*path, key), old.get(key, _MISSING), new.get(key, _MISSING), fixed)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _compare(
                (*path, index),
                old[index] if index < len(old) else _MISSING,
                new[index] if index < len(new) else _MISSING,
                fixed,
            )
    elif old is _MISSING:
        yield Difference(path, "ADD", _touches(path, new, fixed))
    elif new is _MISSING:
        yield Difference(path, "DELETE", _touches(path, old, fixed))
    elif is_unknown(new) or type(old) is not type(new) or old != new:
        yield Difference(path, "UPDATE", _touches(path, new, fixed))


def _touches(path: Path, value: Any, fixed: Sequence[Path]) -> bool:
    """Whether a fixed field is the changed one, holds it, or lies inside the changed value."""
    for field in fixed:
        steps = zip(field, path, strict=False)
        if not all(wanted in {"*", step} for wanted, step in steps):
            continue
        if len(path) >= len(field) or _has(value, field[len(path) :]):
            return True
    return False


def _is_same_quantity(difference: Difference, old: Properties, new: Properties) -> bool:
    if difference.kind != "UPDATE" or not _QUANTITIES.intersection(difference.path):
        return False
    quantities = [_quantity(_at(value, difference.path)) for value in (old, new)]
    return quantities[0] is not None and quantities[0] == quantities[1]


def _quantity(value: Any) -> Fraction | None:
    match = _QUANTITY.fullmatch(str(value))
    try:
        return Fraction(match[1]) * _FACTORS[match[2] or ""] if match else None
    except ValueError:
        return None


def _is_dropped_empty(difference: Difference, new: Properties, declared: Properties | None) -> bool:
    """Whether an empty map or list was declared before already, and the server does not keep it."""
    if difference.kind != "ADD" or declared is None:
        return False
    value = _at(new, difference.path)
    return value in ({}, [], None) and _at(declared, difference.path) == value


def _at(value: Any, path: Path) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return value


def _has(value: Any, path: Path) -> bool:
    if not path:
        return True
    if path[0] == "*":
        return isinstance(value, list) and any(_has(child, path[1:]) for child in value)
    return isinstance(value, dict) and path[0] in value and _has(value[path[0]], path[1:])


def _segments(path: Path) -> Iterator[str]:
    for index, key in enumerate(path):
        if isinstance(key, int):
            yield f"[{key}]"
        elif any(character in key for character in '."[]'):
            escaped = key.replace('"', '\\"')
            yield f'["{escaped}"]'
        else:
            yield f".{key}" if index else key
