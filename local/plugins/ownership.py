"""Who owns which field of an object: its `metadata.managedFields`, for server-side apply."""

from __future__ import annotations

import re
from typing import Any

from local.plugins.manifests import metadata_of
from local.plugins.properties import Properties

# The official provider makes objects by a plain create under this name, and so do we: only so are
# objects that are there already noticed. The first update takes these fields over.
CREATOR = "pulumi-kubernetes"
_OURS_BEFORE_APPLY = frozenset(
    {
        (CREATOR, "Update"),
        ("pulumi-kubernetes.exe", "Update"),
        ("pulumi-resource-kubernetes", "Update"),
        # Who used kubectl on an object of this stack meant to edit it, not to keep it.
        ("kubectl", "Apply"),
        ("kubectl", "Update"),
        ("before-first-apply", "Update"),
    }
)
_STEP = re.compile(r'\["(?P<quoted>(?:[^"\\]|\\.)*)"\]|\[(?P<index>\d+|\*)\]|(?P<plain>[^.\[\]]+)')


def entries_to_take(live: Properties) -> list[Properties]:
    """Returns the managedFields that are ours, but not by server-side apply."""
    return [
        entry
        for entry in metadata_of(live).get("managedFields") or []
        if not entry.get("subresource")
        and (entry.get("manager"), entry.get("operation")) in _OURS_BEFORE_APPLY
    ]


def taken_over(live: Properties, field_manager: str) -> list[Properties] | None:
    """Returns the object's managedFields with the creator's fields given to a field manager.

    Returns:
        The new list, or None if there is nothing to take over.
    """
    entries: list[Properties] = metadata_of(live).get("managedFields") or []
    taken = entries_to_take(live)
    if not taken:
        return None
    mine = [entry for entry in entries if _is_applied_by(entry, field_manager)]
    fields: Properties = {}
    for entry in [*mine, *taken]:
        fields = _union(fields, entry.get("fieldsV1") or {})
    result = (mine or taken)[0] | {
        "manager": field_manager,
        "operation": "Apply",
        "fieldsV1": fields,
    }
    return [result, *(entry for entry in entries if entry not in taken and entry not in mine)]


def without_ignored(
    manifest: Properties, live: Properties, field_manager: str, ignored: list[str]
) -> Properties:
    """Returns what to apply so that fields the user wants ignored stay as they are.

    A field that only others own is left out, so that it stays theirs; one that we own, or nobody,
    is applied with its present value, since leaving it out would remove it. Paths through lists
    are applied as declared.

    Args:
        manifest: what is declared.
        live: what is there.
        field_manager: ours.
        ignored: paths as in the resource's option `ignore_changes`.
    """
    for text in ignored:
        path = path_of(text)
        if any(isinstance(step, int) or step == "*" for step in path):
            continue
        managers = _managers_of(live, path)
        found, value = _get(live, path)
        if managers and field_manager not in managers:
            manifest = _removed(manifest, path)
        elif found:
            manifest = _set(manifest, path, value)
    return manifest


def path_of(text: str) -> tuple[str | int, ...]:
    """Returns the steps of a path as Pulumi writes it, such as `spec.rules[0]["a.b"]`."""
    steps: list[str | int] = []
    for match in _STEP.finditer(text):
        if match["quoted"] is not None:
            steps.append(match["quoted"].replace('\\"', '"'))
        elif match["index"] is not None:
            steps.append("*" if match["index"] == "*" else int(match["index"]))
        else:
            steps.append(match["plain"])
    return tuple(steps)


def _is_applied_by(entry: Properties, field_manager: str) -> bool:
    return (
        entry.get("manager") == field_manager
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
    )


def _union(one: Properties, other: Properties) -> Properties:
    return one | {key: _union(one.get(key, {}), value) for key, value in other.items()}


def _managers_of(live: Properties, path: tuple[str | int, ...]) -> set[str]:
    managers: set[str] = set()
    for entry in metadata_of(live).get("managedFields") or []:
        fields: Any = entry.get("fieldsV1") or {}
        for step in path:
            fields = fields.get(f"f:{step}")
            if fields is None:
                break
        else:
            managers.add(str(entry.get("manager")))
    return managers


def _get(value: Any, path: tuple[str | int, ...]) -> tuple[bool, Any]:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return False, None
        value = value[step]
    return True, value


def _removed(value: Any, path: tuple[str | int, ...]) -> Any:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    kept = {key: child for key, child in value.items() if key != path[0]}
    if len(path) > 1:
        kept[path[0]] = _removed(value[path[0]], path[1:])
    return kept


def _set(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    inside = value if isinstance(value, dict) else {}
    return inside | {path[0]: _set(inside.get(path[0]), path[1:], new)}
