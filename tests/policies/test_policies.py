"""Each policy: what violates it, what passes, what it cannot know, what it does not look at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cases import CASES
from document import document
from evaluate import prepare, run
from raw import Resources
from rules.catalogue import POLICIES

REPOSITORY = Path(__file__).parents[2]
BY_NAME = {policy.name: policy for policy in POLICIES}
MAY_BE_IT = ("alerts-for-every-service", "bucket-versioned")
"""Here the unknown resource may be what lacks."""

NEVER_UNKNOWN = ("no-unseen-resources",)  # which reads nothing but the type


def found(name: str, stack: Resources, /, **config: Any) -> tuple[list[str], list[str]]:
    """Returns violations, and what could not be checked, of one policy."""
    options = {**CASES[name].always, **config}
    findings = run(BY_NAME[name], prepare(stack), {name: options})
    told = [it["message"] for it in findings if not it["advice"]]
    return told, [it["message"] for it in findings if it["advice"]]


def test_every_policy_has_its_cases() -> None:
    assert set(CASES) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_violation_is_told(name: str) -> None:
    told, _ = found(name, CASES[name].violates)
    assert any(CASES[name].says in it for it in told), told


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_as_it_should_be_passes(name: str) -> None:
    assert found(name, CASES[name].passes) == ([], [])


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in NEVER_UNKNOWN])
def test_what_cannot_be_known_is_said_and_is_no_violation(name: str) -> None:
    told, advice = found(name, CASES[name].unknown)
    assert told == []
    (said,) = set(advice)
    assert said.startswith("could not be checked: ")


@pytest.mark.parametrize("name", BY_NAME)
def test_other_resources_are_not_looked_at(name: str) -> None:
    assert found(name, CASES[name].ignored) == ([], [])


@pytest.mark.parametrize("name", BY_NAME)
def test_configuration_decides(name: str) -> None:
    case = CASES[name]
    assert case.config
    told, _ = found(name, case.passes if case.stricter else case.violates, **case.config)
    assert bool(told) is case.stricter, told


@pytest.mark.parametrize("name", BY_NAME)
def test_an_unknown_value_does_not_hide_a_violation_beside_it(name: str) -> None:
    """Nor in another resource, whichever comes first."""
    case = CASES[name]
    elsewhere = json.dumps(case.unknown).replace('"models"', '"other"').replace('"raw"', '"other"')
    other = [{**it, "name": f"other-{it['name']}"} for it in json.loads(elsewhere)]
    for resources in ([*other, *case.violates], [*case.violates, *other]):
        told, _ = found(name, resources)
        assert told or name in MAY_BE_IT


def test_names_are_unique_and_kebab_case() -> None:
    assert len(BY_NAME) == len(POLICIES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_policy_tells_all_that_a_reviewer_needs(name: str) -> None:
    policy = BY_NAME[name]
    assert policy.description.endswith(".")
    assert "should" in policy.description
    assert policy.display_name
    assert policy.severity
    assert policy.tags
    assert policy.remediation_steps
    assert policy.remediation_steps.endswith(".")
    assert policy.url == f"docs/policies.md#{name}"
    assert policy.config_schema is not None
    for option in policy.config_schema.properties.values():
        assert "default" in option
        assert option["description"]


def test_production_makes_every_policy_mandatory_and_knows_its_options() -> None:
    file = REPOSITORY / "policies" / "config" / "prod.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert config.pop("all") == "mandatory"
    assert set(config) == set(BY_NAME)
    for name, options in config.items():
        if isinstance(options, str):
            assert options == "mandatory"
            continue
        assert options.pop("enforcementLevel") == "mandatory"
        schema = BY_NAME[name].config_schema
        assert schema is not None
        assert set(options) <= set(schema.properties)


def test_the_page_of_policies_is_current() -> None:
    page = (REPOSITORY / "docs" / "policies.md").read_text(encoding="utf-8")
    assert page == document(), "make docs/policies.md"
    for name in BY_NAME:
        assert f"### {name}\n" in page
