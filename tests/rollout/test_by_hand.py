# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models.errors import StackFileError
from models.stack import Stack, parse_stack
from rollout.by_hand import approve, pause, promote, resume, retry
from rollout.edits import AddMove, Approve, Pause, Promote, Restart, Resume, Retry
from tests.stacks import LOCAL, OTHER

MONDAY = datetime(2026, 11, 23, 10, tzinfo=UTC)
FREEZE = 'calendar: {freezes: [{from: "2026-11-23", to: "2026-11-27", zone: UTC, why: sale}]}'
STRATEGY = "strategy: {kind: canary, steps: [1, 5, 25, 100], bake: 10m}"
APPROVED = 'approvals: [{percent: 25, by: ann, at: "2026-11-23T09:30:00Z"}]'
THIRD = "sha256:" + "3" * 64


def rejected(*digests: str) -> str:
    entries = ", ".join(f'{{digest: "{it}", at: "2026-11-23T09:30:00Z", why: x}}' for it in digests)
    return f"rejected: [{entries}]"


def stack(
    percent: int = 5, strategy: str = STRATEGY, service: str = "", rollout: str = ""
) -> Stack:
    text = LOCAL.replace(STRATEGY, strategy).replace("percent: 5,", f"percent: {percent},")
    text = text.replace("      risk: high\n", f"      risk: high\n      {service}\n")
    return parse_stack(text.replace("    churn:", f"        {rollout}\n    churn:"), "x")


def steps(*steps: str) -> str:
    return f"strategy: {{kind: canary, steps: [{', '.join(steps)}], bake: 10m}}"


ASKS = steps("1", "5", "{percent: 25, approve: true}", "50", "{percent: 100, approve: true}")


@pytest.mark.parametrize(
    ("declared", "options", "edit"),
    [
        (stack(), {}, AddMove(25, "w")),
        (stack(), {"full": True}, AddMove(100, "w")),
        (stack(100), {}, Promote("w")),
        (stack(100), {"full": True}, Promote("w")),
        (stack(0), {}, AddMove(1, "w")),  # a person had set it to 0
        (stack(service=FREEZE), {"force": True}, AddMove(25, "w")),
        (stack(rollout="paused: x"), {"force": True}, AddMove(25, "w")),
        (stack(strategy=ASKS, rollout=APPROVED), {}, AddMove(25, "w")),
        # champion and challenger run on and on until a person decides
        (stack(5, "strategy: {kind: ab-test, percent: 5, until: forever}"), {}, Promote("w")),
    ],
)
def test_promote_takes_the_next_step_or_the_place_of_stable(declared, options, edit):
    assert promote("fraud", declared, MONDAY, "w", **options) == edit


@pytest.mark.parametrize(
    ("declared", "options", "says"),
    [
        (stack(service=FREEZE), {}, "fraud may not move, frozen until .*: sale; --force"),
        (stack(rollout="paused: lunch"), {}, "paused: lunch"),
        (stack(strategy=ASKS), {}, "25% asks for an approval: modelramp approve fraud"),
        (stack(strategy=ASKS), {"force": True}, "25% asks for an approval"),
        (stack(strategy=ASKS, rollout=APPROVED), {"full": True}, ": 100% asks for an approval"),
        (stack(strategy=ASKS), {"full": True}, "25% and 100% asks"),
        (stack(0, rollout=rejected(OTHER)), {}, "1.5.0 was taken back: modelramp retry fraud"),
        (stack(0, "strategy: {kind: shadow}"), {}, "a shadow never gets traffic"),
    ],
)
def test_promote_is_refused_where_people_have_declared_otherwise(declared, options, says):
    with pytest.raises(StackFileError, match=says):
        promote("fraud", declared, MONDAY, "w", **options)


def test_what_was_never_deployed_has_nothing_to_decide_on():
    for command in (
        lambda: promote("churn", stack(), MONDAY, "w"),
        lambda: pause("churn", stack(), "w"),
        lambda: resume("churn", stack(), "w"),
        lambda: approve("churn", stack(), None, "w", by="ann"),
        lambda: retry("churn", stack(), None, MONDAY, "w"),
    ):
        with pytest.raises(StackFileError, match="churn has no version yet: modelramp deploy"):
            command()


def test_a_pause_begins_once_and_ends_once():
    paused = stack(rollout="paused: lunch")
    assert pause("fraud", stack(), "w") == Pause("w")
    assert resume("fraud", paused, "w") == Resume("w")
    with pytest.raises(StackFileError, match="paused already: lunch"):
        pause("fraud", paused, "w")
    with pytest.raises(StackFileError, match="not paused"):
        resume("fraud", stack(), "w")


@pytest.mark.parametrize("percent", [None, 25])
def test_a_person_approves_the_next_step(percent):
    edit = approve("fraud", stack(strategy=ASKS), percent, "w", by="ann")
    assert edit == Approve(25, "ann", "w")


@pytest.mark.parametrize(
    ("declared", "percent", "by", "says"),
    [
        (stack(strategy=ASKS), None, "dependabot[bot]", "is a bot"),
        (stack(strategy=ASKS), None, "project_7_bot_3f2a", "is a bot"),
        (stack(strategy=ASKS), None, "1+ci[bot]@users.noreply.example", "is a bot"),
        (stack(strategy=ASKS), None, "drift-check", "is a bot"),
        (stack(strategy=ASKS), 50, "ann", "the next step is 25%, not 50%"),
        (stack(strategy=ASKS, rollout=APPROVED), None, "ann", "25% is approved already"),
        (stack(), None, "ann", "25%, asks for no approval"),
        (stack(100), None, "ann", "at its last step"),
    ],
)
def test_an_approval_that_would_not_count_is_refused(declared, percent, by, says):
    with pytest.raises(StackFileError, match=says.replace("[", r"\[")):
        approve("fraud", declared, percent, "w", by=by)


def test_a_candidate_that_was_taken_back_begins_anew_or_waits_at_0():
    back = stack(0, rollout=rejected(THIRD, OTHER))
    for which in (None, "1.5.0", OTHER):
        assert retry("fraud", back, which, MONDAY, "w") == Restart(1, "w")
    frozen = retry("fraud", stack(0, service=FREEZE, rollout=rejected(OTHER)), None, MONDAY, "w")
    assert isinstance(frozen, Restart)
    assert frozen.percent == 0
    assert "it begins at 0: frozen" in frozen.why


def test_what_is_declared_no_more_may_be_deployed_again():
    gone = stack(rollout=rejected(THIRD))
    log = [
        {"candidate": "1.4.5", "digest": THIRD, "verdict": "revert"},
        {"candidate": "1.4.5", "digest": OTHER, "verdict": "rollback"},  # of what was stable
    ]
    for which in (None, "1.4.5", THIRD):
        assert retry("fraud", gone, which, MONDAY, "w", log) == Retry(THIRD, "w")


@pytest.mark.parametrize(
    ("declared", "which", "says"),
    [
        (stack(), None, "say which; taken back are: none"),
        (stack(rollout=rejected(THIRD, OTHER)), None, f"say which; taken back are: {THIRD}, "),
        (stack(), "1.5.0", "1.5.0 was not taken back"),
        (stack(rollout=rejected(THIRD)), "9.9.9", f"not taken back; taken back are: {THIRD}"),
        (
            stack(rollout=f'{rejected(THIRD)}\n        retry: ["{THIRD}"]'),
            THIRD,
            "may be deployed again already",
        ),
    ],
)
def test_a_retry_of_nothing_is_refused(declared, which, says):
    with pytest.raises(StackFileError, match=says):
        retry("fraud", declared, which, MONDAY, "w")
