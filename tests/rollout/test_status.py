# pyright: basic
from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from models.stack import Stack, parse_stack
from rollout.drift_check import Outcome
from rollout.judge import Verdict
from rollout.judge.verdict import Needed
from rollout.status import Status, as_json, statuses
from tests.stacks import LOCAL, OTHER

NOW = datetime(2026, 11, 23, 11, tzinfo=UTC)
HOLD = Verdict("hold", "not yet", needed=Needed(70, 600.0, ("70 requests", "accuracy")))
CHURN = LOCAL.replace(
    "    churn:\n      owner: growth\n",
    "    churn:\n      owner: growth\n      rollout: {stable: '2.0.1'}\n"
    f"      versions: {{'2.0.1': {{uri: s3://m/c, digest: '{OTHER}', registry: 'models:/c/1'}}}}\n",
)


def of(stack: Stack, verdict: Verdict | None = HOLD) -> dict[str, Status]:
    outcomes = [
        Outcome("churn", None, None, None, None, 0, 0),
        Outcome("fraud", verdict, None, "1.4.0", "1.5.0", 5, 5),
    ]
    return {it.name: it for it in statuses(stack, outcomes, NOW)}


def test_a_rollout_comes_first_and_says_where_it_is():
    found = of(parse_stack(CHURN, "x"))
    assert [*found] == ["fraud", "churn"]
    fraud, churn = found["fraud"], found["churn"]
    assert (fraud.is_in_rollout, fraud.step, fraud.seconds_at_step) == (True, (2, 4), 7200)
    assert (fraud.waits, fraud.seconds_left) == (("70 requests", "accuracy"), 600)
    assert (churn.is_in_rollout, churn.waits, churn.seconds_at_step) == (False, (), None)


def test_where_people_are_waited_for_no_traffic_ends_it():
    paused = CHURN.replace("        moves:", "        paused: lunch\n        moves:")
    fraud = of(parse_stack(paused, "x"))["fraud"]
    assert fraud.waits == ("paused: lunch", "70 requests", "accuracy")
    assert fraud.seconds_left is None


@pytest.mark.parametrize(("percent", "step"), [(0, 0), (1, 1), (25, 3), (100, 4)])
def test_steps_are_counted_from_1(percent: int, step: int):
    stack = parse_stack(LOCAL.replace("percent: 5,", f"percent: {percent},"), "x")
    assert of(stack)["fraud"].step == (step, 4)


def test_a_service_that_is_declared_no_more_is_left_out():
    (stack,) = [parse_stack(LOCAL[: LOCAL.index("    churn:")], "x")]
    assert [*of(stack)] == ["fraud"]


def test_json_holds_the_declared_and_the_judged():
    found = of(parse_stack(CHURN, "x"))
    fraud, churn = (json.loads(json.dumps(as_json(it))) for it in found.values())
    assert fraud["percents"] == {"1.4.0": 95, "1.5.0": 5}
    assert fraud["rollout"]["moves"][-1]["why"] == "no harm in 41,200 requests"
    assert (fraud["verdict"], fraud["reason"], fraud["waitsFor"][0]) == (
        "hold",
        "not yet",
        "70 requests",
    )
    assert (churn["verdict"], churn["percents"]) == (None, {"2.0.1": 100})
