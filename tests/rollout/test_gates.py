# pyright: basic
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.offline_evidence import Evaluation, Fairness, LoadTest
from models.stack import Stack, parse_stack
from rollout.gates import Candidate, Gate, Rehearsal, check_gates, force, may_force
from rollout.registry_evidence import Logged, Missing
from tests.stacks import DIGEST, LOCAL, OTHER

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DATA = "sha256:" + "d" * 64
IDS = [f"row-{it}" for it in range(400)]


def evaluation(digest: str, wrong: int, **changed: Any) -> Evaluation:
    """Right on all examples but the first `wrong` ones."""
    values = [0.0] * wrong + [1.0] * (len(IDS) - wrong)
    content = {
        "digest": digest,
        "dataHash": DATA,
        "ids": IDS,
        "metrics": {"accuracy": {"better": "higher", "values": values}},
        **changed,
    }
    return Evaluation.model_validate(content)


def load_test(**changed: Any) -> LoadTest:
    content = {"digest": OTHER, "requests": 5000, "failed": 1, "p99Ms": 40, "requestsPerSecond": 90}
    return LoadTest.model_validate(content | changed)


FAIRNESS = Fairness.model_validate({"digest": OTHER, "dataHash": DATA, "metrics": {"gap": 0.05}})


def stack(gates: str, extra: str = "") -> Stack:
    text = LOCAL.replace("      risk: high\n", f"      risk: high\n      gates: {gates}\n{extra}")
    return parse_stack(text, "x")


def line(verdict: str, hours_ago: float, digest: str = OTHER, **changed: Any) -> dict[str, Any]:
    at = (NOW - timedelta(hours=hours_ago)).isoformat()
    line = {"at": at, "verdict": verdict, "digest": digest, "candidate": "1.5.0", "reason": "so"}
    return line | changed


REHEARSED = [line("deploy", 60), line("rollback", 59, reason="drill"), line("promote", 50)]

CANDIDATE = Candidate(
    digest=OTHER,
    has_profile=True,
    logged=Logged(evaluation(OTHER, wrong=10), load_test(), FAIRNESS),
    stable=evaluation(DIGEST, wrong=40),
    stable_digest=DIGEST,
    rehearsal=Rehearsal(stack("{}"), REHEARSED),
)


def gate(name: str, gates: str, candidate: Candidate = CANDIDATE, extra: str = "") -> Gate:
    found = check_gates("fraud", stack(gates, extra), candidate, NOW)
    (one,) = [it for it in found if it.name == name]
    return one


def logged(**changed: Any) -> Candidate:
    return replace(CANDIDATE, logged=replace(CANDIDATE.logged, **changed))


BETTER = "{betterThanStable: {metric: accuracy}}"


def test_what_is_not_declared_is_said_to_be_so():
    states = {it.state for it in check_gates("fraud", stack("{modelCard: false}"), CANDIDATE, NOW)}
    assert states == {"not declared"}


def test_better_by_a_paired_test():
    passed = gate("betterThanStable", BETTER)
    assert passed.state == "passed"
    assert "McNemar" in passed.says
    worse = replace(CANDIDATE, stable=evaluation(DIGEST, wrong=10))
    assert gate("betterThanStable", BETTER, worse).state == "failed"


def test_examples_are_paired_by_their_id_not_by_their_place():
    turned = {"ids": [*reversed(IDS)]}
    values = [1.0] * (len(IDS) - 40) + [0.0] * 40
    metrics = {"accuracy": {"better": "higher", "values": values}}
    same = replace(CANDIDATE, stable=evaluation(DIGEST, 0, **turned, metrics=metrics))
    assert gate("betterThanStable", BETTER, same) == gate("betterThanStable", BETTER)


def test_where_lower_is_better_losses_are_compared():
    def loss(digest: str, wrong: int) -> Evaluation:
        values = [0.9 + it / 1000 for it in range(wrong)] + [0.1] * (len(IDS) - wrong)
        metrics = {"log_loss": {"better": "lower", "values": values}}
        return evaluation(digest, 0, metrics=metrics)

    declared = "{betterThanStable: {metric: log_loss}}"
    both = replace(
        CANDIDATE,
        logged=replace(CANDIDATE.logged, evaluation=loss(OTHER, 10)),
        stable=loss(DIGEST, 60),
    )
    assert gate("betterThanStable", declared, both).state == "passed"
    turned = replace(
        both,
        logged=replace(CANDIDATE.logged, evaluation=loss(OTHER, 60)),
        stable=loss(DIGEST, 10),
    )
    assert gate("betterThanStable", declared, turned).state == "failed"


LOWER = {"accuracy": {"better": "lower", "values": [1.0] * len(IDS)}}


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (replace(CANDIDATE, stable=Missing("not logged")), "stable's evaluation: not logged"),
        (logged(evaluation=Missing("not logged")), "candidate's evaluation: not logged"),
        (logged(evaluation=evaluation(DIGEST, 0)), "of another artifact"),
        (replace(CANDIDATE, stable=evaluation(OTHER, 40)), "of another artifact"),
        (logged(evaluation=evaluation(OTHER, 0, dataHash=DIGEST)), "different data"),
        (logged(evaluation=evaluation(OTHER, 0, ids=[*IDS[1:], "new"])), "2 are in one of them"),
        (logged(evaluation=evaluation(OTHER, 0, metrics=LOWER)), "disagree"),
    ],
)
def test_what_cannot_be_compared_does_not_pass(candidate: Candidate, says: str):
    found = gate("betterThanStable", BETTER, candidate)
    assert found.state == "failed"
    assert says in found.says


def test_a_metric_that_was_not_logged():
    found = gate("betterThanStable", "{betterThanStable: {metric: auc}}")
    assert (found.state, "it has accuracy" in found.says) == ("failed", True)


def test_the_first_version_has_nothing_to_be_compared_with():
    first = replace(CANDIDATE, stable=None, stable_digest=None)
    assert gate("betterThanStable", BETTER, first).state == "passed"


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (load_test(p99Ms=50.1), "above 50 ms"),
        (load_test(requests=999), "too few requests"),
        (load_test(failed=51), "51 failed"),
        (load_test(digest=DIGEST), "of another artifact"),
        (Missing("not logged"), "not logged"),
    ],
)
def test_a_load_test_that_does_not_show_the_bound(test: LoadTest | Missing, says: str):
    found = gate("latencyP99Ms", "{latencyP99Ms: 50}", logged(load_test=test))
    assert found.state == "failed"
    assert says in found.says


def test_a_load_test_that_does():
    test = load_test(p99Ms=50, requests=1000, failed=10)
    assert gate("latencyP99Ms", "{latencyP99Ms: 50}", logged(load_test=test)).state == "passed"


@pytest.mark.parametrize(
    ("bounds", "state"),
    [
        ("max: 0.05", "passed"),
        ("max: 0.04", "failed"),
        ("min: 0.05", "passed"),
        ("min: 0.06", "failed"),
        ("min: -0.1, max: 0.1", "passed"),
    ],
)
def test_fairness_lies_between_its_bounds(bounds: str, state: str):
    assert gate("fairness gap", f"{{fairness: [{{metric: gap, {bounds}}}]}}").state == state


def test_fairness_that_was_not_logged():
    declared = "{fairness: [{metric: other, max: 1}]}"
    assert "logged are gap" in gate("fairness other", declared).says
    missing = logged(fairness=Missing("not logged"))
    assert gate("fairness other", declared, missing).says == "the fairness metrics: not logged"


STAGING = "{staging: {stack: staging, bake: 24h}}"


def rehearsed(log: list[dict[str, Any]], there: Stack | Missing | None = None) -> Candidate:
    return replace(CANDIDATE, rehearsal=Rehearsal(there or stack("{}"), log))


def test_staging_passed():
    assert gate("staging", STAGING).state == "passed"
    # The first version of a service; the drill was on another one.
    first = [line("deploy", 30, candidate=None), line("rollback", 20, DIGEST, reason="Drill")]
    assert gate("staging", STAGING, rehearsed(first)).state == "passed"
    # The drill came after it was stable for long enough.
    own = [line("promote", 30), line("rollback", 1)]
    assert gate("staging", STAGING, rehearsed(own)).state == "passed"


def other_stack(old: str, new: str) -> Stack:
    on_cluster = LOCAL.replace("target: embedded", 'target: cluster, prometheus: "http://p"')
    text = on_cluster.replace(", accuracy: 0.9", "").replace(old, new, 1)
    assert new in text
    return parse_stack(text, "x")


REJECTED = other_stack(
    '        stable: "1.4.0"\n',
    '        stable: "1.4.0"\n        rejected:\n'
    f'          - {{digest: "{OTHER}", at: "2026-11-23T08:00:00Z", why: x}}\n',
)


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (rehearsed([]), "never promoted there"),
        (rehearsed([line("promote", 50, DIGEST)]), "never promoted there"),
        (rehearsed([line("deploy", 50)]), "never promoted there"),
        (rehearsed([line("drop", 50, candidate=None)]), "never promoted there"),
        (rehearsed([line("promote", 23)]), "for 23h only"),
        (rehearsed([line("promote", 50), line("promote", 40, DIGEST)]), "for 10h only"),
        (rehearsed([line("promote", 50), line("rollback", 47)]), "for 3h only"),
        (rehearsed([line("promote", 50)]), "no rollback was tried there"),
        (rehearsed(REHEARSED, Missing("no such stack file")), "no such stack file"),
        (rehearsed(REHEARSED, REJECTED), "taken back there"),
        (
            rehearsed(REHEARSED, other_stack("fraud:", "other:")),
            "declares no service fraud",
        ),
        (
            rehearsed(
                REHEARSED, other_stack("kind: mlflow}", "kind: custom, image: x, protocol: v1}")
            ),
            "runtime.kind differs",
        ),
        (
            rehearsed(
                REHEARSED, other_stack("gateway/models", "gateway/models, serverImage: other")
            ),
            "serverImage differs",
        ),
    ],
)
def test_staging_not_passed(candidate: Candidate, says: str):
    found = gate("staging", STAGING, candidate)
    assert found.state == "failed"
    assert says in found.says


def test_no_drill_is_needed_where_none_is_declared():
    declared = "{staging: {stack: staging, bake: 24h, rollbackDrill: false}}"
    assert gate("staging", declared, rehearsed([line("promote", 50)])).state == "passed"


CARD = "      card: {purpose: x, data: x, limits: x, contact: x}\n"


def test_a_model_card():
    assert gate("modelCard", "{}").state == "failed"
    assert gate("modelCard", "{}", extra=CARD).state == "passed"
    found = gate("modelCard", "{}", extra=CARD.replace("limits: x", 'limits: " "'))
    assert (found.state, found.says) == ("failed", "card.limits is empty")


def test_a_reference_profile_is_needed_where_drift_is_declared():
    drift = "      drift: {reference: {tolerance: 0.1}}\n"
    without = replace(CANDIDATE, has_profile=False)
    assert gate("referenceProfile", "{}", without).state == "not declared"
    assert gate("referenceProfile", "{}", without, extra=drift).state == "failed"
    assert gate("referenceProfile", "{}", extra=drift).state == "passed"


def test_force_passes_what_failed_and_nothing_else():
    gates = (Gate("a", "failed", "x"), Gate("b", "passed", "y"), Gate("c", "not declared", "z"))
    assert [it.state for it in force(gates)] == ["forced", "passed", "not declared"]


@pytest.mark.parametrize(
    ("risk", "declared", "may"),
    [
        ("high", "", False),
        ("medium", "", True),
        ("low", "allowForce: false", False),
        ("high", "allowForce: true", True),
    ],
)
def test_who_may_force(risk: str, declared: str, may: bool):
    text = LOCAL.replace("risk: high", f"risk: {risk}\n      gates: {{{declared}}}")
    assert may_force(parse_stack(text, "x").services["fraud"]) is may
