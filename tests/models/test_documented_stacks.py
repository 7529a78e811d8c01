# pyright: basic
"""What docs/stacks.md shows can be declared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from models.notifications import Notifications
from models.runtime import SERVERS, Runtime
from models.strategy import Strategy

TEXT = (Path(__file__).parents[2] / "docs" / "stacks.md").read_text()
KINDS = {"canary", "linear", "blue-green", "shadow", "ab-test", "all-at-once"}
STRATEGIES = re.findall(rf"`(\{{kind: (?:{'|'.join(KINDS)}).*?\}})`", TEXT)
STRATEGIES += re.findall(r"^strategy: (\{.*\})", TEXT, re.MULTILINE)
RUNTIMES = re.findall(r"^runtime: (\{.*\})", TEXT, re.MULTILINE)


@pytest.mark.parametrize("text", STRATEGIES)
def test_every_strategy_is_one(text: str):
    assert TypeAdapter(Strategy).validate_python(YAML(typ="safe").load(text))


@pytest.mark.parametrize("text", RUNTIMES)
def test_every_runtime_is_one(text: str):
    assert Runtime.model_validate(YAML(typ="safe").load(text))


def test_the_receivers_are_some():
    (text,) = re.findall(r"```yaml\n(modelramp:notifications:.*?)```", TEXT, re.DOTALL)
    (declared,) = YAML(typ="safe").load(text).values()
    assert [it.kind for it in Notifications.model_validate(declared).receivers] == [
        "slack",
        "webhook",
    ]


def test_none_is_left_out():
    union = get_args(get_args(Strategy)[0])
    assert {get_args(it.model_fields["kind"].annotation)[0] for it in union} == KINDS
    assert all(any(f"kind: {kind}" in text for text in STRATEGIES) for kind in KINDS)
    table = TEXT[TEXT.index("## Runtimes") : TEXT.index("Every version has")]
    assert {*SERVERS} <= {*re.findall(r"`(\w+)`", table)}
