"""Properties as the engine sends them, between protobuf and plain Python values.

Unknown values (of resources not made yet) stay the engine's placeholder strings; secrets stay
objects with the engine's signature. Both are named here, and pass through unchanged.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

Properties: TypeAlias = dict[str, Any]

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (a mark of the protocol, no password)
_UNKNOWN = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # string, and what the engine sends for most
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


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_whole(child) for child in value]
    return value
