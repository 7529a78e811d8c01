# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models.stack import parse_stack
from rollout.edits import AddMove, Drop, Promote, Restart
from rollout.judge import MetricVerdict, Verdict
from rollout.judge.verdict import Shown
from rollout.plan import as_people_allow, first_move, is_over, plan
from tests.stacks import LOCAL, OTHER

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
        stack = parse_stack(
            text.replace('stable: "1.4.0"', f'stable: "1.4.0"\n        {given}'), "x"
        )
        held = as_people_allow(Verdict("advance", "fine"), "fraud", stack, MONDAY)
        assert (held.kind, "approval" in held.reason) == ("hold", True)


def test_champion_and_challenger_run_on_and_on():
    text = LOCAL.replace(CANARY, "{kind: ab-test, percent: 5, until: forever}")
    stack = parse_stack(text, "x")
    held = as_people_allow(Verdict("advance", "fine"), "fraud", stack, MONDAY)
    assert (held.kind, "runs on and on" in held.reason) == ("hold", True)


def tidied(rollout: str, at: datetime, **more: str):
    """What is due of a service that is not in a rollout."""
    text = LOCAL[: LOCAL.index("        stable:")] + rollout + LOCAL[LOCAL.index("    churn:") :]
    for old, new in more.items():
        text = text.replace(f"{old}:", f"{new}\n      {old}:", 1)
    return plan("fraud", parse_stack(text, "x"), None, at)


PREVIOUS = """\
        stable: "1.5.0"
        previous: {version: "1.4.0", until: "2026-11-23T12:00:00Z"}
"""
TAKEN_BACK = f"""\
        stable: "1.4.0"
        candidate: "1.5.0"
        moves:
          - {{percent: 5, at: "2026-11-22T09:00:00Z"}}
          - {{percent: 0, at: "2026-11-22T12:00:00Z"}}
        rejected: [{{digest: "{OTHER}", at: "2026-11-22T12:00:00Z", why: harm}}]
"""


def test_the_previous_version_goes_when_its_time_is_over_and_a_window_is_open():
    assert tidied(PREVIOUS, MONDAY) is None
    edit = tidied(PREVIOUS, MONDAY.replace(hour=12))
    assert edit == Drop("previous", "1.4.0 was kept until 2026-11-23 12:00 UTC")
    shut = OFFICE.replace("mon", "tue")
    assert tidied(PREVIOUS, MONDAY.replace(hour=12), risk=shut) is None
    paused = PREVIOUS + '        paused: "an incident"\n'
    assert tidied(paused, MONDAY.replace(hour=12)) is None


def test_a_candidate_that_was_taken_back_goes_after_the_same_time():
    assert tidied(TAKEN_BACK, MONDAY) is None
    edit = tidied(TAKEN_BACK, MONDAY.replace(hour=12))
    assert edit == Drop("candidate", "1.5.0 was taken back and kept long enough")


def test_a_person_s_retry_begins_anew():
    retried = TAKEN_BACK + f'        retry: ["{OTHER}"]\n'
    assert tidied(retried, MONDAY) == Restart(1, "a person set retry")


def test_a_candidate_that_was_never_served_leaves_in_one_edit():
    edit = plan("fraud", STACK, Verdict("revert", "never Ready", never_served=True), MONDAY)
    assert edit == Drop("candidate", "never Ready", reject=True)


def test_a_shadow_is_over_with_its_time():
    text = LOCAL.replace(CANARY, "{kind: shadow, for: 2h}")
    text = text.replace("percent: 1,", "percent: 0,").replace("percent: 5,", "percent: 0,")
    stack = parse_stack(text, "x")
    verdict = as_people_allow(Verdict("advance", "no harm"), "fraud", stack, MONDAY)
    assert plan("fraud", stack, verdict, MONDAY) == Drop(
        "candidate", "the shadow's time is over: no harm"
    )


def test_what_a_person_set_to_0_stays_there():
    stack = parse_stack(LOCAL.replace("percent: 5,", "percent: 0,"), "x")
    held = as_people_allow(Verdict("advance", "Ready"), "fraud", stack, MONDAY)
    assert (held.kind, "a person set it to 0" in held.reason) == ("hold", True)


GROUPED = LOCAL.replace("risk: high", "risk: high\n      group: payments").replace(
    "owner: growth", "owner: growth\n      group: payments"
)


@pytest.mark.parametrize(
    ("fraud", "waits"), [("percent: 5,", True), ("percent: 0,", True), (None, False)]
)
def test_a_group_has_one_rollout_at_a_time(fraud, waits):
    text = GROUPED
    if fraud:
        text = text.replace("percent: 5,", fraud)
    else:
        begin, end = text.index("        stable:"), text.index("    churn:")
        text = text[:begin] + TAKEN_BACK + text[end:]
    percent, why = first_move("churn", parse_stack(text, "x"), MONDAY)
    assert (percent, why) == (
        (0, "fraud of group payments is being rolled out") if waits else (10, None)
    )


@pytest.mark.parametrize(
    ("upper", "words"),
    [(-0.001, "the candidate wins in errorRate: "), (0.001, "no difference beyond the margin: ")],
)
def test_an_ab_test_says_what_it_decided(upper, words):
    text = LOCAL.replace(CANARY, "{kind: ab-test, percent: 5}")
    shown = Shown(0.01, 1000, 10)
    metric = MetricVerdict(
        "errorRate",
        shown,
        shown,
        0.0,
        -0.002,
        upper,
        1.0,
        0.002,
        40.0,
        0.003,
        1.0,
        False,
        True,
        1000,
    )
    verdict = Verdict("advance", "worse is ruled out", (metric,))
    held = as_people_allow(verdict, "fraud", parse_stack(text, "x"), MONDAY)
    assert held.kind == "hold"
    assert held.reason.startswith(words)
    assert "100% waits for a person's approval" in held.reason
