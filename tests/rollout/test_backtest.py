# pyright: basic
from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.rollout import Rollout
from models.stack import parse_stack
from rollout.backtest import changes, last_rollout, peers, replay, terms_of_service
from rollout.case import load_case, observations_of, terms_of
from rollout.judge import judge
from tests.stacks import LOCAL

EXAMPLE = Path(__file__).parents[2] / "examples/judge/canary.json"


@pytest.fixture
def case():
    return load_case(EXAMPLE)


def test_the_past_is_judged_as_it_was_known_then(case):
    seen = observations_of(case)
    looks = list(replay(lambda moves: terms_of(case, moves), case.rollout.moves, seen))
    assert [look.percent for look in looks] == [5] * 5 + [25] * 7
    whole = judge(terms_of(case), seen, case.end)
    assert looks[-1].verdict == whole
    kinds = [(look.at.minute, look.verdict.kind) for look in changes(looks)]
    assert kinds[0] == (1, "no-data")
    assert kinds[-1] == (9, "revert")


def test_what_comes_later_changes_no_earlier_look(case):
    seen = observations_of(case)

    def reasons(observed):
        looks = replay(lambda moves: terms_of(case, moves), case.rollout.moves, observed)
        return [look.verdict for look in looks]

    assert reasons(seen)[:8] == reasons(seen.until(8, 25))


def test_the_rules_of_others_stand_beside_it(case):
    by_name = {peer.name.split(",")[0]: peer for peer in peers(observations_of(case), 0.02, 10, 5)}
    argo_at = by_name["Argo Rollouts"].reverted_at
    assert argo_at is not None
    assert argo_at.minute == 6
    assert by_name["Flagger"].reverted_at is not None
    assert by_name["Kayenta"].reverted_at is None


def line(verdict: str, candidate: str | None, before: int, after: int, minute: int) -> dict:
    return {
        "at": f"2026-11-23T08:{minute:02}:00+00:00",
        "stable": "1.4.0",
        "candidate": candidate,
        "from": before,
        "to": after,
        "verdict": verdict,
    }


def test_the_last_rollout_comes_from_the_log_once_it_is_over():
    service = parse_stack(LOCAL, "x").services["fraud"]
    assert last_rollout(service, []) is service.rollout
    rest = service.model_copy(update={"rollout": Rollout.model_validate({"stable": "1.4.0"})})
    assert last_rollout(rest, []) is None
    log = [
        line("start", None, 0, 100, 0),
        line("start", "1.5.0", 0, 1, 1),
        line("revert", "1.5.0", 1, 0, 2),
        line("start", "1.5.0", 0, 5, 3),
        line("advance", "1.5.0", 5, 25, 4),
        line("promote", "1.5.0", 25, 25, 5),
    ]
    found = last_rollout(rest, json.loads(json.dumps(log)))
    assert found is not None
    assert [(move.percent, move.at.minute) for move in found.moves] == [(5, 3), (25, 4)]
    terms = terms_of_service(service, found)
    assert terms(found.moves[:1]).percent == 5
    assert terms(found.moves).percent == 25
