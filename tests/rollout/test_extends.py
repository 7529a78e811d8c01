# pyright: basic
from __future__ import annotations

import pytest

from models.rollout import Rollout
from rollout.extends import extends


def rollout(stable: str, candidate: str | None = None, *moves: tuple[int, int], rejected: int = 0):
    at = "2026-11-23T{:02}:00:00Z".format
    content = {
        "stable": stable,
        "candidate": candidate,
        "moves": [{"percent": percent, "at": at(hour)} for percent, hour in moves],
        "rejected": [{"digest": f"sha256:{'1' * 64}", "at": at(rejected), "why": "harm"}]
        if rejected
        else [],
    }
    return Rollout.model_validate(content)


REST = rollout("1.0.0")
EARLY = rollout("1.0.0", "2.0.0", (1, 1))
LATE = rollout("1.0.0", "2.0.0", (1, 1), (5, 2))
BACK = rollout("1.0.0", "2.0.0", (1, 1), (0, 3), rejected=3)
PROMOTED = rollout("2.0.0")
RESTORED = rollout("1.0.0", "2.0.0", (0, 4), rejected=4)
AGAIN = rollout("1.0.0", "2.0.0", (1, 5))
NEXT = rollout("1.0.0", "3.0.0", (1, 6))
DROPPED = rollout("1.0.0", rejected=3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *((it, it) for it in (REST, LATE, BACK, PROMOTED)),
        *((REST, EARLY), (EARLY, LATE), (EARLY, BACK), (LATE, PROMOTED), (PROMOTED, RESTORED)),
        *((BACK, AGAIN), (BACK, NEXT), (BACK, DROPPED), (EARLY, DROPPED), (DROPPED, NEXT)),
    ],
)
def test_what_goes_on_may_be_applied(before: Rollout, after: Rollout):
    assert extends(before, after) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *((EARLY, REST), (LATE, EARLY), (BACK, EARLY), (PROMOTED, LATE), (RESTORED, PROMOTED)),
        *((DROPPED, EARLY), (NEXT, LATE), (LATE, rollout("9.0.0"))),
    ],
)
def test_an_older_file_may_not(before: Rollout, after: Rollout):
    assert extends(before, after)
