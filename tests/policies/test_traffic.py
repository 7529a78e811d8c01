"""What is near the bounds of the rules about traffic, and what a move to 0 passes."""

from __future__ import annotations

from typing import Any

import pytest
from cases import rollout
from evaluate import prepare, run
from raw import (
    CANDIDATE,
    STABLE,
    Resources,
    custom,
    facts,
    inference_service,
    moves,
    reference,
    route,
    split,
)
from rules.catalogue import POLICIES

BY_NAME = {policy.name: policy for policy in POLICIES}
FIRST_STEP, WEIGHTS, RAW_ROUTE, GROUP = (
    "high-risk-first-step",
    "route-keeps-to-its-moves",
    "no-raw-route-to-a-model",
    "one-rollout-a-group",
)


def told(name: str, stack: Resources, /, **config: Any) -> list[str]:
    return [it["message"] for it in run(BY_NAME[name], prepare(stack), {name: config})]


@pytest.mark.parametrize(
    ("percents", "is_violated"),
    [
        ((5,), False),
        ((5.5,), True),
        ((0, 10), True),
        ((0, 5, 10), False),
        ((1, 100), False),  # an hour later
        ((50, 100), True),
        ((50, 0), False),
        ((50, 0, 50), True),
    ],
)
def test_high_risk_begins_small(percents: tuple[float, ...], is_violated: bool) -> None:
    assert bool(told(FIRST_STEP, rollout(*percents))) is is_violated


def test_the_first_step_takes_some_minutes() -> None:
    assert told(FIRST_STEP, rollout(1, 5, 25), leastMinutes=121)
    assert not told(FIRST_STEP, rollout(1, 5, 25), leastMinutes=120)
    assert not told(FIRST_STEP, rollout(1, 5, 3), leastMinutes=600)


def test_times_without_a_time_zone_are_utc() -> None:
    said = '[{"percent": 1, "at": "2026-11-23T08:00:00"}]'
    assert not told(FIRST_STEP, rollout(1, moves=said))


@pytest.mark.parametrize(
    "annotations",
    [
        {"risk": "hihg"},
        {"stable": None},
        {"strategy": "Canary"},
        {"moves": "5%"},
        {"moves": "{}"},
        {"moves": '[{"at": "2026-11-23T08:00:00Z"}]'},
        {"moves": '[{"percent": 5, "at": "yesterday"}]'},
        {"moves": '[{"percent": 500, "at": "2026-11-23T08:00:00Z"}]'},
        {"candidate": None},
    ],
)
@pytest.mark.parametrize("name", [FIRST_STEP, WEIGHTS, RAW_ROUTE, "all-at-once-low-risk"])
def test_malformed_annotations_never_pass(name: str, annotations: dict[str, str | None]) -> None:
    (message,) = told(name, rollout(5, **annotations))
    assert message.startswith("could not be checked: ")


def bucket_rule(pattern: str, *more: str) -> dict[str, Any]:
    matches = [
        {"headers": [{"type": "RegularExpression", "name": "x-user-bucket", "value": it}]}
        for it in (pattern, *more)
    ]
    return {"matches": matches, "backendRefs": [reference(CANDIDATE, 1)]}


@pytest.mark.parametrize(
    ("patterns", "is_violated"),
    [
        (("[0-4]",), False),
        (("[0-9]",), True),
        (("[0-4]", "[0-4]"), False),
        (("[0-2]", "[3-5]"), True),
        (("[9-0]",), True),  # no pattern at all
        ((".*",), True),
    ],
)
def test_users_of_an_ab_test_are_counted(patterns: tuple[str, ...], is_violated: bool) -> None:
    annotations = facts(strategy="ab-test", moves=moves(5))
    for rules in ([bucket_rule(*patterns)], [bucket_rule(it) for it in patterns]):
        found = told(WEIGHTS, route(*rules, split(100, 0), annotations=annotations))
        assert bool(found) is is_violated


def test_the_door_for_smoke_tests_is_no_traffic() -> None:
    match = {"headers": [{"name": "X-Model-Version", "value": "1.5.0"}]}
    door = {"matches": [match], "backendRefs": [reference(CANDIDATE, 1)]}
    assert not told(WEIGHTS, route(door, split(95, 5), annotations=facts(moves=moves(5))))
    door["matches"] = [match, {}]
    assert told(WEIGHTS, route(door, split(95, 5), annotations=facts(moves=moves(5))))


def test_weights_may_be_rounded_and_may_be_less() -> None:
    for candidate in (0, 3, 5, 5.4):
        annotations = facts(moves=moves(5))
        rule = split(100 - candidate, candidate)
        assert not told(WEIGHTS, route(rule, annotations=annotations))


def test_a_route_that_takes_nothing_is_no_way_past() -> None:
    nothing = {"headers": [{"name": "x-model-version", "value": "none"}]}
    rule = {"matches": [nothing], "backendRefs": [reference(STABLE, 1)]}
    assert not told(RAW_ROUTE, route(rule))
    assert told(RAW_ROUTE, route(rule, {"backendRefs": [reference(STABLE, 1)]}))


@pytest.mark.parametrize(
    "backend",
    [
        "fraud-v1-4-0-predictor",
        "fraud-predictor-00001",
        "fraud-predictor-default",
        "fraud-v1-5-0-rc-1",
        "fraud-v1-4-0-predictor.models.svc.cluster.local",
        "http://fraud-transformer.models:8080/v1",
        "FRAUD-V1-4-0-PREDICTOR",
    ],
)
def test_names_of_models_are_known(backend: str) -> None:
    assert told(RAW_ROUTE, route({"backendRefs": [reference(backend)]}))


@pytest.mark.parametrize("backend", ["predictor", "predictor-docs", "web", "fraud-v2", "api-v1-2"])
def test_other_names_are_not(backend: str) -> None:
    assert not told(RAW_ROUTE, route({"backendRefs": [reference(backend)]}))


@pytest.mark.parametrize("spec", [{}, {"router": None}])
def test_a_language_model_without_a_route_is_no_route(spec: dict[str, Any]) -> None:
    model = custom("serving.kserve.io/v1alpha1", "LLMInferenceService", spec)
    assert not told(RAW_ROUTE, model)


def test_the_newest_move_of_a_group_is_a_revert() -> None:
    both = [
        *rollout(5),
        *route(split(95, 5), annotations=facts(service="payout", moves=moves(5)), name="payout"),
    ]
    assert told(GROUP, both)

    def third(text: str, *versions: str) -> Resources:
        annotations = facts(service="x", moves=text)
        models = [it for name in versions for it in inference_service(name=f"x-v{name}")]
        return [*both, *models, *route(split(100, 0), annotations=annotations, name="x")]

    assert not told(GROUP, third(moves(1, 0), "1-4-0", "1-5-0"))
    assert told(GROUP, third(moves(0, day=24), "1-4-0", "1-5-0"))  # it begins
    assert told(GROUP, third(moves(1, 0, 1), "1-4-0", "1-5-0"))  # it goes on
    assert told(GROUP, third(moves(1, 0, day=20), "1-4-0", "1-5-0"))  # others moved since
    assert told(GROUP, third(moves(1, 0), "1-4-0"))  # nothing is there to take back


@pytest.mark.parametrize("policy", POLICIES, ids=lambda it: it.name)
@pytest.mark.parametrize("percents", [(5, 0), (100, 0), (0, 0), (1, 5, 25, 0)])
@pytest.mark.parametrize("risk", ["high", "medium", "low"])
def test_a_move_to_0_passes_every_rule(policy: Any, percents: tuple[float, ...], risk: str) -> None:
    """Whatever else the rollout lacks; under Knative too."""
    lacks = dict.fromkeys(("owner", "model_card", "staging", "keep_previous"))
    annotations = facts(
        risk=risk, strategy="all-at-once", moves=moves(*percents), previous="1.3.0", **lacks
    )
    assert not told(policy.name, route(split(100, 0), annotations=annotations))


def test_a_rollout_that_begins_at_0_is_no_revert() -> None:
    shadow = facts(strategy="shadow", moves=moves(0), owner=None)
    assert told("service-has-an-owner", route(split(100, 0), annotations=shadow))
    back = facts(strategy="shadow", moves=moves(0), owner=None, taken_back="true")
    assert not told("service-has-an-owner", route(split(100, 0), annotations=back))
