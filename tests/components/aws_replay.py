# pyright: basic
"""Recorded inputs of Pulumi's AWS resources as parameters of boto3, checked by botocore's model.

Pulumi writes what AWS calls `BlockDeviceMappings` as `blockDeviceMappings`, tags as a mapping, and
some booleans as text. The model of an operation says what is meant. An input that the operation
does not know is an error, so nothing that was declared is left out unseen.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any


def parameters(
    client: Any,
    operation: str,
    inputs: Mapping[str, Any],
    *,
    renamed: Mapping[str, str] | None = None,
    left_out: Collection[str] = (),
) -> dict[str, Any]:
    """Returns recorded inputs as parameters of an operation.

    Args:
        client: of boto3.
        operation: as AWS writes it, `CreateRole`.
        inputs: as Pulumi writes them.
        renamed: AWS's name for an input, at any depth, where it is another word.
        left_out: inputs, at the top, that belong to another operation.
    """
    shape = client.meta.service_model.operation_model(operation).input_shape
    kept = {name: value for name, value in inputs.items() if name not in left_out}
    return _fitted(shape, kept, renamed or {}, operation)


def _fitted(shape: Any, value: Any, renamed: Mapping[str, str], where: str) -> Any:
    if shape.type_name == "structure":
        return _structure(shape, value, renamed, where)
    if shape.type_name == "list":
        return _list(shape, value, renamed, where)
    if shape.type_name == "map":
        return {key: _fitted(shape.value, it, renamed, where) for key, it in value.items()}
    if shape.type_name == "boolean":
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name in ("float", "double"):
        return float(value)
    return value if isinstance(value, str) else json.dumps(value)


def _structure(shape: Any, value: Any, renamed: Mapping[str, str], where: str) -> dict[str, Any]:
    # What is one object to AWS, Pulumi sometimes has as a list of one.
    if isinstance(value, list):
        (value,) = value
    names = {name.lower(): name for name in shape.members}
    found = {}
    for key, it in value.items():
        name = names.get(renamed.get(key, key).lower())
        assert name, f"{where}: AWS has no {key} here, only {', '.join(shape.members)}"
        if it is not None:
            found[name] = _fitted(shape.members[name], it, renamed, f"{where}.{key}")
    return found


def _list(shape: Any, value: Any, renamed: Mapping[str, str], where: str) -> list[Any]:
    if isinstance(value, Mapping) and _are_tags(shape.member):
        value = [{"Key": key, "Value": it} for key, it in value.items()]
    elif isinstance(value, Mapping):
        value = [value]
    return [_fitted(shape.member, it, renamed, where) for it in value]


def _are_tags(shape: Any) -> bool:
    return shape.type_name == "structure" and {it.lower() for it in shape.members} == {
        "key",
        "value",
    }
