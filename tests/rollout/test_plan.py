# pyright: basic
from __future__ import annotations

import pytest

from models.stack import parse_stack
from rollout.judge import Verdict
from rollout.plan import AddMove, Promote, is_over, plan
from tests.stacks import LOCAL

FRAUD = parse_stack(LOCAL, "x").services["fraud"]


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
    assert plan(FRAUD, Verdict(kind, "why")) == edit


def test_a_percentage_that_a_person_chose_goes_on_to_the_next_step():
    text = LOCAL.replace("percent: 5,", "percent: 12,")
    assert plan(parse_stack(text, "x").services["fraud"], Verdict("advance", "why")) == AddMove(
        25, "why"
    )


def test_a_rollout_is_over_without_a_candidate_or_with_a_rejected_one():
    assert not is_over(FRAUD)
    assert is_over(parse_stack(LOCAL, "x").services["churn"])
    stopped = LOCAL.replace("percent: 5,", "percent: 0,")
    assert not is_over(parse_stack(stopped, "x").services["fraud"])  # a person paused it
    rejected = stopped.replace(
        "    churn:",
        '        rejected: [{digest: "sha256:%s", at: "2026-11-23T09:00:00Z", why: x}]\n'
        "    churn:" % ("1" * 64),
    )
    assert is_over(parse_stack(rejected, "x").services["fraud"])
