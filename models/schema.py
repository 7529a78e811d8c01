"""JSON Schemas for editors: what may be written, with a description of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from models.base import Declared, format_duration
from models.stack import CONFIG_PREFIX, Stack

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE = re.compile(r"^    (\w+): (.+?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Returns a model's JSON Schema, in which each key is described as its class describes it."""
    schema = model.model_json_schema(by_alias=True)
    for part in _parts(schema):
        part.pop("title", None)
        _as_written(part)
    models = [(model, schema), *_definitions(schema)]
    for declared, part in models:
        summary, attributes = _docstring(declared)
        part["description"] = summary
        for name, field in declared.model_fields.items():
            if name in attributes:
                part["properties"][field.alias or name]["description"] = attributes[name]
    return schema


def stack_file_schema() -> dict[str, Any]:
    """Returns the JSON Schema of `Pulumi.<stack>.yaml`: ours and, unchecked, Pulumi's own keys."""
    stack = described(Stack)
    config = {f"{CONFIG_PREFIX}{key}": it for key, it in stack["properties"].items()}
    return {
        "$schema": DIALECT,
        "title": "A stack file of modelramp",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": config,
                "required": [f"{CONFIG_PREFIX}{key}" for key in stack["required"]],
                "patternProperties": {
                    f"^{CONFIG_PREFIX}\\w+$": {
                        "description": "A key of ours, or a secret of your own: {secure: ...}."
                    }
                },
            }
        },
        "required": ["config"],
        "$defs": stack["$defs"],
    }


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yields every schema within a schema; a key named `title` is not taken for one."""
    if isinstance(schema, list):
        for it in schema:  # pyright: ignore[reportUnknownVariableType]
            yield from _parts(it)
    if isinstance(schema, dict):
        yield schema  # pyright: ignore[reportUnknownVariableType]
        for key, it in list(schema.items()):  # pyright: ignore[reportUnknownVariableType]
            if key in ("properties", "$defs", "patternProperties"):
                for named in it.values():
                    yield from _parts(named)
            elif key not in ("default", "examples", "enum", "const"):
                yield from _parts(it)


def _as_written(part: dict[str, Any]) -> None:
    """Describes a duration as text, not as the number of seconds that it becomes."""
    texts = [part, *part.get("anyOf", ())]
    if any(it.get("type") == "string" for it in texts):
        if isinstance(part.get("default"), float):
            part["default"] = format_duration(part["default"])
        for bound in ("gt", "ge", "lt", "le"):
            part.pop(bound, None)


def _definitions(schema: dict[str, Any]) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    classes = {it.__name__: it for it in _subclasses(Declared)}
    for name, part in schema.get("$defs", {}).items():
        if name in classes and "properties" in part:
            yield classes[name], part


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for it in model.__subclasses__():
        yield it
        yield from _subclasses(it)


def _docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Returns a docstring's text, and its `Attributes:` by name, its parents' included."""
    attributes: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        section = (parent.__doc__ or "").partition("Attributes:\n")[2]
        section = re.sub(r"^    ", "", section, flags=re.MULTILINE)
        attributes |= {name: _one_line(text) for name, text in _ATTRIBUTE.findall(section)}
    return _one_line((model.__doc__ or "").partition("Attributes:\n")[0]), attributes


def _one_line(text: str) -> str:
    return " ".join(text.split())
