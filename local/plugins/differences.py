"""Which fields of a Kubernetes object change, and which changes make it another object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from local.plugins.properties import Properties, is_unknown

Path: TypeAlias = tuple[str | int, ...]

_MISSING = object()
_IDENTITY: tuple[Path, ...] = (("metadata", "name"), ("metadata", "namespace"))
_DATA: tuple[Path, ...] = (("data",), ("binaryData",))
_SELECTOR: tuple[Path, ...] = (("spec", "selector"),)
# Fields beside the identity that Kubernetes does not let anyone change, by apiVersion and kind.
_IMMUTABLE: dict[tuple[str, str], tuple[Path, ...]] = {
    ("v1", "ConfigMap"): _DATA,
    ("v1", "Service"): (("spec", "clusterIP"),),
    ("apps/v1", "DaemonSet"): _SELECTOR,
    ("apps/v1", "Deployment"): _SELECTOR,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (("roleRef",),),
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
    old: Properties, new: Properties, *, config_map_mutable: bool = False
) -> list[Difference]:
    """Compares two objects of one kind, field by field.

    Args:
        old: what is there, without what the user never declared (see `prune`).
        new: what is declared now; may hold unknown values.
        config_map_mutable: the provider's option `enableConfigMapMutable`.
    """
    kind = (str(new.get("apiVersion")), str(new.get("kind")))
    immutable = () if config_map_mutable and kind == ("v1", "ConfigMap") else _IMMUTABLE.get(kind)
    fixed = (*_IDENTITY, *(immutable or ()))
    return list(_compare((), old, new, fixed))


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
        if path[: len(field)] == field:
            return True
        if field[: len(path)] == path and _has(value, field[len(path) :]):
            return True
    return False


def _has(value: Any, path: Path) -> bool:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _segments(path: Path) -> Iterator[str]:
    for index, key in enumerate(path):
        if isinstance(key, int):
            yield f"[{key}]"
        elif any(character in key for character in '."[]'):
            escaped = key.replace('"', '\\"')
            yield f'["{escaped}"]'
        else:
            yield f".{key}" if index else key
