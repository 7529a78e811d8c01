# pyright: basic
"""A thousand wrong configurations: each gives a readable error, none a traceback."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from models.errors import ConfigError
from models.stack import parse_stack, stack_from_config

STACKS = Path(__file__).parents[2] / "stacks"
ROLLOUT = {
    "stable": "1.4.0",
    "candidate": "1.5.0",
    "moves": [{"percent": 1, "at": "2026-11-23T08:00:00Z"}],
    "previous": {"version": "1.4.0", "until": "2026-11-30T08:00:00Z"},
}
VERSIONS = {
    version: {
        "uri": f"s3://acme-models-prod/fraud/{version}",
        "digest": f"sha256:{digit * 64}",
        "registry": "models:/m/1",
    }
    for version, digit in (("1.4.0", "0"), ("1.5.0", "1"))
}


def whole() -> dict[str, Any]:
    """The production stack, with a rollout in each service that walks."""
    document = YAML(typ="safe").load((STACKS / "Pulumi.prod.yaml").read_text())
    config = json.loads(json.dumps(document["config"], default=str))
    config = {key.removeprefix("modelramp:"): value for key, value in config.items()}
    config["services"]["fraud"] |= {"versions": VERSIONS, "rollout": ROLLOUT}
    return config


WHOLE = whole()
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["30", "-5m", "1e9", "0", "", "s3://", "sha256:0", "1.4", "a" * 300, "{}", "\n"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the path of every value below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found: list[tuple[Any, ...]] = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


PLACES = places(WHOLE)


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A stack in which one to three things are replaced, removed, renamed or added."""
    config = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(PLACES))
        node: Any = config
        try:
            for key in way:
                node = node[key]
            value = node[last]
        except (KeyError, IndexError, TypeError):
            continue  # gone by an earlier change
        how = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if how == "replace":
            node[last] = draw(JUNK)
        elif how == "add" and isinstance(value, dict):
            value[draw(st.text(min_size=1, max_size=8))] = draw(JUNK)
        else:
            del node[last]
            if how == "rename" and isinstance(node, dict):
                node[f"{last}{draw(st.sampled_from(['s', '_', 'X', ' ']))}"] = value
    return config


def assert_readable(error: ConfigError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.where == "Pulumi.x.yaml"
        assert problem.key.startswith("modelramp:"), problem
        assert problem.what.strip(), problem
        said = str(problem)
        assert not re.search(r"Traceback|errors\.pydantic\.dev|<class|object at 0x|\[key\]", said)
        assert len(problem.what) < 2000


def test_a_thousand_wrong_stacks_give_readable_errors():
    wrong: list[ConfigError] = []

    @seed(2026)
    @settings(
        max_examples=1500,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(changed())
    def run(config: dict[str, Any]) -> None:
        try:
            stack_from_config(config, "Pulumi.x.yaml")
        except ConfigError as error:
            wrong.append(error)
            assert_readable(error)

    run()
    assert len(wrong) >= 1000
    assert len({str(error) for error in wrong}) >= 500, "they are to be different"


@settings(
    max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.data())
def test_a_damaged_file_names_the_line(data: st.DataObject):
    text = (STACKS / "Pulumi.prod.yaml").read_text()
    at = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.sampled_from(["{", "]", "\t", ": ", '"', "\x00", "- ", "&", "*a", "!x "]))
    try:
        parse_stack(text[:at] + damage + text[at:], "Pulumi.x.yaml")
    except ConfigError as error:
        for problem in error.problems:
            assert problem.line or problem.key, problem
            assert "Traceback" not in str(problem)


def test_the_whole_stack_is_right():
    assert stack_from_config(WHOLE, "x").services["fraud"].percents() == {"1.4.0": 99, "1.5.0": 1}


@pytest.mark.parametrize(
    "text", ["", "config:", "config: 5", "config: []", "[]", "5", "config: {modelramp:cluster: 5}"]
)
def test_what_is_no_stack_at_all_is_said(text: str):
    with pytest.raises(ConfigError):
        parse_stack(text, "Pulumi.x.yaml")
