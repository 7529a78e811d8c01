"""Each rule: what violates it, what passes, what it does not look at, what it cannot know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi_policy import PolicyCustomTimeouts, PolicyResourceOptions, ResourceValidationArgs
from pulumi_policy.proxy import UnknownValueError, unknown_checking_proxy
from rules.traffic import POLICIES

ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
BY_NAME = {policy.name: policy for policy in POLICIES}
FIRST_STEP, ALL_AT_ONCE, RAW_ROUTE = (
    "high-risk-first-step",
    "all-at-once-low-risk",
    "no-raw-route-to-a-model",
)


def violations(
    name: str,
    props: dict[str, Any],
    *,
    kind: str = ROUTE,
    config: Mapping[str, Any] | None = None,
) -> list[str]:
    """Runs one policy as the engine does, defaults of its configuration included."""
    policy = BY_NAME[name]
    assert policy.config_schema is not None
    defaults = {key: value["default"] for key, value in policy.config_schema.properties.items()}
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    found: list[str] = []
    args = ResourceValidationArgs(
        kind,
        unknown_checking_proxy(props),
        "urn:pulumi:prod::modelramp::" + kind + "::fraud",
        "fraud",
        options,
        None,
        {**defaults, **(config or {})},
    )
    policy.validate(args, lambda message, urn=None: found.append(message))
    return found


def route(
    *percents: float, risk: str = "high", strategy: str = "canary", **annotations: str | None
) -> dict[str, Any]:
    """Returns the route that a ModelService makes; an annotation set to None is left out."""
    moves = [{"percent": percent, "at": "2026-11-23T08:00:00Z"} for percent in percents]
    ours = {
        "service": "fraud",
        "stable": "1.4.0",
        "candidate": "1.5.0",
        "risk": risk,
        "strategy": strategy,
        "moves": json.dumps(moves),
        **annotations,
    }
    return {
        "metadata": {
            "name": "fraud",
            "annotations": {f"modelramp.dev/{k}": v for k, v in ours.items() if v is not None},
        },
        "spec": {"rules": [{"backendRefs": [{"name": "fraud-v1-4-0-predictor", "weight": 100}]}]},
    }


def raw_route(*backends: str, **rule: Any) -> dict[str, Any]:
    references = [{"name": name, "port": 80} for name in backends]
    return {
        "metadata": {"name": "shortcut"},
        "spec": {"rules": [{"backendRefs": references, **rule}]},
    }


@pytest.mark.parametrize(
    ("declared", "is_violated"),
    [
        (route(6), True),
        (route(5.5), True),
        (route(0, 10), True),
        (route(50, 100), True),
        (route(5), False),
        (route(1, 50), False),
        (route(50, 0), False),
        (route(), False),
        (route(candidate=None), False),
        (route(50, risk="medium"), False),
        (route(50, risk="low"), False),
    ],
)
def test_high_risk_begins_small(declared: dict[str, Any], is_violated: bool) -> None:
    assert bool(violations(FIRST_STEP, declared)) is is_violated


def test_first_step_says_who_and_how_much() -> None:
    (message,) = violations(FIRST_STEP, route(25))
    assert "fraud" in message
    assert "1.5.0" in message
    assert "25%" in message
    assert "at most 5%" in message


def test_first_step_is_configurable() -> None:
    assert violations(FIRST_STEP, route(3), config={"atMostPercent": 2.0})
    assert not violations(FIRST_STEP, route(25), config={"atMostPercent": 25.0})


@pytest.mark.parametrize(
    ("declared", "is_violated"),
    [
        (route(100, strategy="all-at-once", risk="high"), True),
        (route(100, strategy="all-at-once", risk="medium"), True),
        (route(strategy="all-at-once", risk="medium", candidate=None), True),
        (route(100, strategy="all-at-once", risk="low"), False),
        (route(100, 0, strategy="all-at-once", risk="high"), False),
        (route(100, strategy="blue-green", risk="high"), False),
    ],
)
def test_all_at_once_is_for_low_risk(declared: dict[str, Any], is_violated: bool) -> None:
    assert bool(violations(ALL_AT_ONCE, declared)) is is_violated


def test_all_at_once_is_configurable() -> None:
    declared = route(100, strategy="all-at-once", risk="low")
    assert violations(ALL_AT_ONCE, declared, config={"risks": []})


@pytest.mark.parametrize(
    ("declared", "is_violated"),
    [
        (raw_route("fraud-v1-4-0-predictor"), True),
        (raw_route("web", "fraud-v1-4-0-predictor"), True),
        (
            raw_route(
                "web",
                filters=[{"requestMirror": {"backendRef": {"name": "fraud-v2-predictor"}}}],
            ),
            True,
        ),
        (raw_route("web"), False),
        (raw_route("predictor-docs"), False),
        ({"metadata": {"name": "empty"}}, False),
        (route(5), False),
        (route(candidate=None, moves=None, strategy="canary"), False),
    ],
)
def test_no_raw_route(declared: dict[str, Any], is_violated: bool) -> None:
    assert bool(violations(RAW_ROUTE, declared)) is is_violated


def test_raw_route_can_be_exempt() -> None:
    declared = raw_route("fraud-v1-4-0-predictor")
    assert not violations(RAW_ROUTE, declared, config={"exemptRoutes": ["shortcut"]})


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize(
    "declared",
    [
        route(5, risk="hihg"),
        route(5, stable=None),
        route(moves="5%"),
        route(moves='[{"at": "2026-11-23T08:00:00Z"}]'),
        route(500),
    ],
)
def test_malformed_annotations_never_pass(name: str, declared: dict[str, Any]) -> None:
    (message,) = violations(name, declared)
    assert message.startswith("could not be checked: ")


@pytest.mark.parametrize("name", BY_NAME)
def test_other_resources_are_not_looked_at(name: str) -> None:
    declared = raw_route("fraud-predictor") | route(100, strategy="all-at-once")
    assert not violations(name, declared, kind="kubernetes:core/v1:ConfigMap")


@pytest.mark.parametrize("name", BY_NAME)
def test_unknown_values_could_not_be_checked(name: str) -> None:
    with pytest.raises(UnknownValueError) as caught:
        violations(name, route(5, risk=UNKNOWN))
    assert caught.value.message.startswith("could not be checked: ")


def test_policies_tell_all_that_a_reviewer_needs() -> None:
    readme = (Path(__file__).parents[2] / "policies" / "README.md").read_text(encoding="utf-8")
    assert len(BY_NAME) == len(POLICIES)
    for policy in POLICIES:
        assert policy.description.endswith(".")
        assert policy.severity
        assert policy.remediation_steps
        assert policy.url == f"policies/README.md#{policy.name}"
        assert f"## {policy.name}\n" in readme


def test_production_makes_every_policy_mandatory() -> None:
    file = Path(__file__).parents[2] / "policies" / "config" / "prod.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert config.pop("all") == "mandatory"
    assert set(config) == set(BY_NAME)
    for name, options in config.items():
        assert options.pop("enforcementLevel") == "mandatory"
        schema = BY_NAME[name].config_schema
        assert schema is not None
        assert set(options) <= set(schema.properties)
