# pyright: basic
from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from models.stack import Stack, parse_stack
from rollout.drift_check import outcome_of
from rollout.edits import (
    AddMove,
    Drop,
    Edit,
    Pause,
    Promote,
    Restart,
    Restore,
)
from rollout.judge import Verdict
from rollout.notices import Notice, notices, slack_body, text, webhook_body
from rollout.plan import as_people_allow
from tests.stacks import LOCAL

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
STACK = parse_stack(LOCAL, "x")
ASKS = LOCAL.replace("5, 25,", "5, {percent: 25, approve: true},")
FOREVER = "strategy: {kind: ab-test, percent: 5, until: forever}"
CANARY = "strategy: {kind: canary, steps: [1, 5, 25, 100], bake: 10m}"


def of(verdict: Verdict | None, edit: Edit | None = None, stack: Stack = STACK) -> list[Notice]:
    outcome = outcome_of("fraud", stack, verdict, edit)
    return notices("prod", stack, [outcome], NOW, by="drift-check")


@pytest.mark.parametrize(
    ("edit", "event", "says"),
    [
        (AddMove(25, "w"), "move", "prod: fraud 1.5.0 5% to 25%: w"),
        (Promote("w"), "move", "prod: fraud 1.5.0 becomes stable: w"),
        (Restart(1, "w"), "move", "prod: fraud 1.5.0 5% to 1%: w"),
        (AddMove(0, "w", reject=True), "revert", "prod: fraud 1.5.0 is taken back, 5% to 0%: w"),
        (Restore("w"), "revert", "prod: fraud 1.4.0 is taken back, 5% to 0%: w"),
        (Drop("candidate", "w", reject=True), "revert", "1.5.0 is taken back, 5% to 0%: w"),
    ],
)
def test_a_move_and_a_revert_are_told_whoever_decided(edit, event, says):
    (notice,) = of(None, edit)
    assert notice.event == event
    assert text(notice).endswith(says)


def test_the_end_of_a_shadow_is_told_and_tidying_up_and_pausing_are_not():
    shadow = Drop("candidate", "the shadow's time is over")
    (notice,) = of(Verdict("advance", "w"), shadow)
    assert (notice.event, "1.5.0 leaves: the shadow" in text(notice)) == ("move", True)
    assert of(None, shadow) == of(None, Drop("previous", "w")) == of(None, Pause("w")) == []


@pytest.mark.parametrize("kind", ["hold", "no-data"])
def test_what_holds_says_for_how_long(kind):
    (notice,) = of(Verdict(kind, "not enough requests"))
    assert (notice.event, notice.seconds_at_step) == ("hold", 6 * 3600)
    assert text(notice) == "prod: fraud 1.5.0 has been at 5% for 6 h: not enough requests"


def test_champion_and_challenger_hold_for_ever_and_that_is_no_news():
    assert of(Verdict("hold", "w"), stack=parse_stack(LOCAL.replace(CANARY, FOREVER), "x")) == []


def test_an_approval_is_wanted_once_the_evidence_is_there():
    stack = parse_stack(ASKS, "x")
    wanted = as_people_allow(Verdict("advance", "no harm"), "fraud", stack, NOW)
    assert [it.event for it in of(wanted, stack=stack)] == ["approval", "hold"]
    assert text(of(wanted, stack=stack)[0]) == (
        "prod: fraud 1.5.0 wants an approval at 5%: no harm; but 25% waits for a person's "
        "approval: modelramp approve fraud"
    )
    assert [it.event for it in of(Verdict("hold", "70 requests"), stack=stack)] == ["hold"]
    paused = parse_stack(ASKS.replace("        moves:", "        paused: x\n        moves:"), "x")
    kept = as_people_allow(Verdict("advance", "no harm"), "fraud", paused, NOW)
    assert [it.event for it in of(kept, stack=paused)] == ["hold"]


def test_a_webhook_gets_the_outcome():
    (notice,) = of(Verdict("advance", "w"), AddMove(25, "w"))
    body = json.loads(json.dumps(webhook_body(notice)))
    assert (body["event"], body["stack"], body["by"]) == ("move", "prod", "drift-check")
    assert (body["service"], body["from"], body["to"], body["verdict"]) == (
        "fraud",
        5,
        25,
        "advance",
    )
    assert body["at"] == "2026-11-23T15:00:00+00:00"


def test_slack_gets_text_in_which_nobody_is_called_and_nothing_linked():
    (notice,) = of(None, AddMove(25, "<!channel> & <https://evil.example|here>\n" + "<" * 2000))
    body = slack_body(notice)
    (section, context) = body["blocks"]
    assert body["text"] == section["text"]["text"]
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt; &lt;" in body["text"]
    assert not {"<", ">", "\n"} & set(body["text"])
    assert len(body["text"]) < 3000
    assert context["elements"][0]["text"] == "move by drift-check"
