# pyright: basic
"""What is read fast is what ruamel.yaml reads, or it is an error."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.yaml_reading import load_yaml

STACKS = sorted((Path(__file__).parents[2] / "stacks").glob("Pulumi.*.yaml"))
PLAIN = """
yes no on off y n true True TRUE false null Null ~ 1 -1 +1 0 012 0o17 0x1F 0b11 1_000 1.10 .5 5. 1e3
1E-3 .inf -.Inf .nan 1:30 09:00 2026-11-28 2026-11-28T08:00:00Z 2026-11-28T08:00:00+02:00 = <<
s3://m/0 sha256:00 1.4.0 'a' "1" '' "\\u00e9" | > ? - a# #
"""
# Without tags and anchors: of a bare `!`, ruamel.yaml makes null and libyaml the text that YAML
# asks for; and they differ on where the name of an anchor ends.
SCALARS = st.sampled_from(PLAIN.split()) | st.text("01.-+:eE_xo~ytnfaNI#'\"{}[], ", max_size=8)
SHAPES = ("{}", "k: {}", "k: {{a: {}}}", "- {}", "[{}]", "{}: 1", "{{{}: 1}}", "a: &a {}\nb: *a")


def with_types(node):
    """Returns a document in which `1`, `True` and `1.0` differ, and `nan` equals itself."""
    if isinstance(node, dict):
        return [(with_types(key), with_types(value)) for key, value in node.items()]
    if isinstance(node, list):
        return [with_types(it) for it in node]
    if isinstance(node, date):
        return date  # which stack files refuse
    kind = next(it for it in (bool, int, float, str, type(node)) if isinstance(node, it))
    return kind, node if node is None else repr(kind(node))


@settings(max_examples=1500, deadline=None)
@given(shape=st.sampled_from(SHAPES), scalar=SCALARS)
def test_values_are_those_of_ruamel(shape: str, scalar: str):
    text = shape.format(scalar)
    try:
        wanted = YAML(typ="safe", pure=True).load(text)
        found = load_yaml(text)
    except (yaml.YAMLError, YAMLError, ValueError, TypeError):
        return  # one of them refuses it: it is read by the other, or cannot be edited
    assert with_types(found) == with_types(wanted), text


@pytest.mark.parametrize("path", STACKS, ids=lambda it: it.name)
def test_the_stacks_that_ship_are_read_fast(path: Path):
    text = path.read_text()
    assert with_types(load_yaml(text)) == with_types(YAML(typ="rt").load(text))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "{a: 1, 'a': 2}",
        "a: 1\n---\nb: 2",
        "a: [",
        "a: !own 1",
        "%YAML 1.1\n---\na: yes",
    ],
)
def test_what_is_unsure_is_an_error(text: str):
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_merged_keys_give_way_to_own_ones():
    assert load_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}
