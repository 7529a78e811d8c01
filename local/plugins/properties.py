"""Properties as the engine sends them, between protobuf and plain Python values.

Unknown values (of resources not made yet) stay the engine's placeholder strings; secrets stay
objects with the engine's signature. Both are named here, and pass through unchanged.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

Properties: TypeAlias = dict[str, Any]

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (a mark of the protocol, no password)
_SECRET_KIND = "Secret"  # noqa: S105 (a kind of Kubernetes)
_SECRET_FIELDS = ("data", "stringData")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # of a string; the engine takes it for any
_UNKNOWN = frozenset(
    {
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


def from_struct(struct: struct_pb2.Struct) -> Properties:
    """Returns the properties as plain values; whole numbers as `int`, as Kubernetes has them."""
    return {key: _whole(value) for key, value in MessageToDict(struct).items()}


def to_struct(properties: Properties) -> struct_pb2.Struct:
    """Returns the properties as the engine wants them."""
    return ParseDict(properties, struct_pb2.Struct())


def is_unknown(value: object) -> bool:
    """Whether this is the placeholder of a value that a preview cannot know."""
    return isinstance(value, str) and value in _UNKNOWN


def has_unknown(value: object) -> bool:
    """Whether a placeholder stands anywhere inside."""
    if isinstance(value, dict):
        return any(has_unknown(child) for child in value.values())
    if isinstance(value, list):
        return any(has_unknown(child) for child in value)
    return is_unknown(value)


def signed_path(value: object, path: str = "") -> str | None:
    """Returns the path of the first secret, asset or archive inside, or None."""
    if isinstance(value, dict) and _SIGNATURE in value:
        return path
    if isinstance(value, dict):
        children = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return None
    found = (signed_path(child, child_path) for child_path, child in children)
    return next((child_path for child_path in found if child_path is not None), None)


def without_secrets(value: Any) -> Any:
    """Returns the value with each secret replaced by what it hides."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return without_secrets(value["value"])
        return {key: without_secrets(child) for key, child in value.items()}
    if isinstance(value, list):
        return [without_secrets(child) for child in value]
    return value


def secret(value: Any) -> Properties:
    """Returns the value marked so that the engine encrypts it in the state and hides it."""
    return {_SIGNATURE: _SECRET, "value": value}


def with_secrets(plain: Properties, marked: Properties) -> Properties:
    """Returns `plain` with marks where `marked` has them, and on a Kubernetes Secret's values.

    A list of which one element holds a secret becomes one secret: its order may have changed.

    Args:
        plain: an object without marks, usually what the cluster returned.
        marked: what was declared, with the engine's marks.
    """
    return _with_secrets(_secret_kind(plain), marked)


def secret_texts(marked: Properties) -> frozenset[str]:
    """Returns all texts that must not be shown: what is marked, as it is and in base64."""
    places = (marked, _secret_kind(without_secrets(marked)))
    texts = {str(leaf) for place in places for leaf in _secret_leaves(place, inside=False)}
    texts |= {json.dumps(text)[1:-1] for text in texts}  # as it stands inside of quotes
    encoded = {base64.b64encode(text.encode()).decode() for text in texts}
    return frozenset(text for text in texts | encoded | _decoded(texts) if text.strip())


def _secret_kind(plain: Properties) -> Properties:
    if plain.get("kind") != _SECRET_KIND:
        return plain
    marked = {
        key: secret(value) if key in _SECRET_FIELDS else value for key, value in plain.items()
    }
    annotations = (plain.get("metadata") or {}).get("annotations") or {}
    if _LAST_APPLIED in annotations:  # kubectl's copy of the whole object
        hidden = annotations | {_LAST_APPLIED: secret(annotations[_LAST_APPLIED])}
        marked["metadata"] = plain["metadata"] | {"annotations": hidden}
    return marked


def _with_secrets(plain: Properties, marked: Properties) -> Properties:
    result = dict(plain)
    for key, value in plain.items():
        other = marked.get(key)
        if isinstance(value, dict) and _SIGNATURE in value:
            continue  # marked already
        if isinstance(value, dict) and isinstance(other, dict) and _SIGNATURE not in other:
            result[key] = _with_secrets(value, other)
        elif signed_path(other) is not None:
            result[key] = secret(value)
    return result


def _secret_leaves(value: Any, *, inside: bool) -> Iterator[object]:
    if isinstance(value, dict):
        is_mark = value.get(_SIGNATURE) == _SECRET
        for child in [value["value"]] if is_mark else value.values():
            yield from _secret_leaves(child, inside=inside or is_mark)
    elif isinstance(value, list):
        for child in value:
            yield from _secret_leaves(child, inside=inside)
    elif inside and not isinstance(value, bool) and value is not None and not is_unknown(value):
        yield value


def _decoded(texts: Iterable[str]) -> set[str]:
    decoded: set[str] = set()
    for text in texts:
        with suppress(ValueError):
            decoded.add(base64.b64decode(text, validate=True).decode())
    return decoded


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_whole(child) for child in value]
    return value
