# pyright: basic
from __future__ import annotations

import re
from pathlib import Path

import pytest

from rollout.registry_evidence import SCHEMAS, Kind, Missing, parse

TEXT = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
DOCUMENTED: list[tuple[Kind, str]] = re.findall(r"```json (\w+)\n(.*?)```", TEXT, re.DOTALL)  # type: ignore[assignment]
EVALUATION = dict(DOCUMENTED)["evaluation"]


@pytest.mark.parametrize(("kind", "text"), DOCUMENTED)
def test_what_is_documented_is_by_the_schema(kind: Kind, text: str):
    assert not isinstance(parse(text, SCHEMAS[kind], kind), Missing)


def test_every_kind_is_documented():
    assert {kind for kind, _ in DOCUMENTED} == {*SCHEMAS}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[1, 0]", "[1]", "metric accuracy has 1 values for 2 ids"),
        ("[1, 0]", "[1, NaN]", "metrics.accuracy.values.1"),
        ('"row-2"', '"row-1"', "an id occurs twice"),
        ("higher", "bigger", "metrics.accuracy.better"),
        ("sha256:1", "sha256:x", "digest"),
        ('"ids"', '"rows"', "ids: Field required; rows: Extra"),
        ("{", "", "Invalid JSON"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, says: str):
    found = parse(EVALUATION.replace(old, new, 1), SCHEMAS["evaluation"], "here")
    assert isinstance(found, Missing)
    assert found.why.startswith("here is not by the schema of docs/registry.md: ")
    assert says in found.why
