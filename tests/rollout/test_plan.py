# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models.stack import parse_stack
from rollout.judge import Verdict
from rollout.edits import AddMove, Promote
from rollout.plan import as_people_allow, is_over, plan
from tests.stacks import LOCAL

STACK = parse_stack(LOCAL, "x")
MONDAY = datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("advance", AddMove(25, "why")),
        ("revert", AddMove(0, "why", reject=True)),
        ("promote", Promote("why")),
        ("hold", None),
        ("no-data", None),
    ],
)
def test_each_verdict_has_its_edit(kind, edit):
    assert plan("fraud", STACK, Verdict(kind, "why"), MONDAY) == edit


def test_a_step_that_a_person_adds_under_way_is_the_next_one():
    text = LOCAL.replace("[1, 5, 25, 100]", "[1, 5, 12, 25, 100]")
    edit = plan("fraud", parse_stack(text, "x"), Verdict("advance", "why"), MONDAY)
    assert edit == AddMove(12, "why")


def test_a_rollout_is_over_without_a_candidate_or_with_a_rejected_one():
    assert not is_over(STACK.services["fraud"])
    assert is_over(parse_stack(LOCAL, "x").services["churn"])
    stopped = LOCAL.replace("percent: 5,", "percent: 0,")
    assert not is_over(parse_stack(stopped, "x").services["fraud"])  # a person paused it
    rejected = stopped.replace(
        "    churn:",
        '        rejected: [{digest: "sha256:%s", at: "2026-11-23T09:00:00Z", why: x}]\n'
        "    churn:" % ("1" * 64),
    )
    assert is_over(parse_stack(rejected, "x").services["fraud"])


CANARY = "{kind: canary, steps: [1, 5, 25, 100], bake: 10m}"
APPROVAL = 'approvals: [{percent: 25, by: ann, at: "2026-11-23T09:30:00Z"}]'
OFFICE = 'calendar: {windows: [{days: [mon], from: "09:00", to: "17:00", zone: Europe/Berlin}]}'
FREEZE = 'calendar: {freezes: [{from: "2026-11-23", to: "2026-11-27", zone: UTC, why: sale}]}'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'stable: "1.4.0"',
            'stable: "1.4.0"\n        paused: I am looking',
            "paused: I am looking",
        ),
        ("risk: high", f"risk: high\n      {FREEZE}", "frozen until"),
        ("5, 25,", "5, {percent: 25, approve: true},", "25% waits for a person's approval"),
        ("config:", f"config:\n  modelramp:{FREEZE}", "sale"),
        (
            "config:",
            f"config:\n  modelramp:{OFFICE}".replace("mon", "tue"),
            "outside the deploy windows",
        ),
    ],
)
def test_what_people_declare_holds_an_advance_but_never_a_revert(old, new, says):
    stack = parse_stack(LOCAL.replace(old, new, 1), "x")
    held = as_people_allow(Verdict("advance", "no harm"), "fraud", stack, MONDAY)
    assert held.kind == "hold"
    assert held.reason.startswith("no harm; but ")
    assert says in held.reason
    assert plan("fraud", stack, held, MONDAY) is None
    revert = Verdict("revert", "harm")
    assert as_people_allow(revert, "fraud", stack, MONDAY) == revert


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            'stable: "1.4.0"',
            f'stable: "1.4.0"\n        {APPROVAL}',
        ),
        ("risk: high", f"risk: high\n      {OFFICE}"),
    ],
)
def test_an_approval_and_an_open_window_let_it_go_on(old, new):
    text = LOCAL.replace("5, 25,", "5, {percent: 25, approve: true},")
    if "approvals" not in new:
        text = LOCAL
    stack = parse_stack(text.replace(old, new, 1), "x")
    verdict = Verdict("advance", "no harm")
    assert as_people_allow(verdict, "fraud", stack, MONDAY) == verdict


def test_an_approval_from_before_the_last_move_does_not_count():
    early = APPROVAL.replace("09:30", "08:30")
    text = LOCAL.replace("5, 25,", "5, {percent: 25, approve: true},")
    stack = parse_stack(text.replace('stable: "1.4.0"', f'stable: "1.4.0"\n        {early}'), "x")
    held = as_people_allow(Verdict("advance", "fine"), "fraud", stack, MONDAY)
    assert held.kind == "hold"


def test_an_approval_by_a_bot_does_not_count():
    text = LOCAL.replace("5, 25,", "5, {percent: 25, approve: true},")
    for bot in ("drift-check", "actions[bot]"):
        given = APPROVAL.replace("ann", f'"{bot}"')
        stack = parse_stack(text.replace('stable: "1.4.0"', f'stable: "1.4.0"\n        {given}'), "x")
        held = as_people_allow(Verdict("advance", "fine"), "fraud", stack, MONDAY)
        assert (held.kind, "approval" in held.reason) == ("hold", True)


def test_champion_and_challenger_run_on_and_on():
    text = LOCAL.replace(CANARY, "{kind: ab-test, percent: 5, until: forever}")
    stack = parse_stack(text, "x")
    held = as_people_allow(Verdict("advance", "fine"), "fraud", stack, MONDAY)
    assert (held.kind, "runs on and on" in held.reason) == ("hold", True)
