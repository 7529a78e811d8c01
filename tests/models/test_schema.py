# pyright: basic
from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from models.base import format_duration
from models.schema import stack_file_schema
from models.stack import CONFIG_KEYS
from tests.stacks import LOCAL

STACKS = Path(__file__).parents[2] / "stacks"
SCHEMA = stack_file_schema()


def errors(text: str) -> list[str]:
    document = json.loads(json.dumps(YAML(typ="safe").load(text), default=str))
    return [it.json_path for it in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_the_published_schema_is_current():
    published = json.loads((STACKS / "schema.json").read_text())
    assert published == SCHEMA, "modelramp validate --schema > stacks/schema.json"


@pytest.mark.parametrize("file", sorted(STACKS.glob("Pulumi.*.yaml")), ids=lambda it: it.stem)
def test_every_stack_names_the_schema_and_is_valid_by_it(file: Path):
    text = file.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert not errors(text)


def test_every_key_is_described():
    described = SCHEMA["properties"]["config"]["properties"].items()
    parts = [*described, *(it for name in SCHEMA["$defs"] for it in _properties(name))]
    assert len(parts) > 150
    assert not [name for name, part in parts if "description" not in part]


def _properties(definition: str) -> list[tuple[str, dict]]:
    properties = SCHEMA["$defs"][definition].get("properties", {})
    return [
        (f"{definition}.{key}", part)
        for key, part in properties.items()
        if "const" not in part  # what a kind is called
    ]


def test_every_config_key_is_offered_and_a_secret_of_ones_own_is_allowed():
    offered = SCHEMA["properties"]["config"]["properties"]
    assert [*offered] == [f"modelramp:{key}" for key in CONFIG_KEYS]
    assert not errors(LOCAL.replace("config:", "config:\n  modelramp:slackUrl: {secure: x}"))


def test_what_an_editor_shows_as_wrong():
    assert errors(LOCAL) == []
    assert errors(LOCAL.replace("bake: 10m", "bake: 10")) != []
    assert errors(LOCAL.replace("risk: high", "risk: huge")) != []
    assert errors(LOCAL.replace("owner: growth", "own: growth")) != []


def test_defaults_are_shown_as_they_are_written():
    canary = SCHEMA["$defs"]["Canary"]["properties"]
    assert canary["bake"]["default"] == format_duration(1800) == "30m"
