"""Whatever a value is, a rule answers: one that broke would keep every revert from going out."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, cast

import pytest
from cases import CASES
from evaluate import prepare, run
from rules.catalogue import POLICIES

JUNK: tuple[Any, ...] = ("x", "", 7, -1.5, True, None, [], {}, ["x"], [{}], {"x": "y"}, [[]])
SAMPLES = 60


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            yield from paths(inner, (*path, index))


def with_junk(resources: list[dict[str, Any]], dice: random.Random) -> list[dict[str, Any]]:
    """Returns resources of which one value is another."""
    changed = copy.deepcopy(resources)
    chosen = dice.choice(changed)
    *front, last = dice.choice([it for it in paths(chosen["props"]) if it] or [("x",)])
    node = chosen["props"]
    for key in front:
        node = node[key]
    node[last] = dice.choice(JUNK)
    return changed


@pytest.mark.parametrize("policy", POLICIES, ids=lambda it: it.name)
def test_a_rule_answers_whatever_a_value_is(policy: Any) -> None:
    dice = random.Random(policy.name)  # noqa: S311
    case = CASES[policy.name]
    for _ in range(SAMPLES):
        resources = dice.choice([it for it in (case.violates, case.passes) if it])
        run(policy, prepare(with_junk(resources, dice)), {policy.name: case.always})
