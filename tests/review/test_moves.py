# pyright: basic
"""Rollouts in words."""

from __future__ import annotations

import pytest

from review.moves import Change, Rollout, changes_of, rollout_of, sentence
from review.preview import State
from tests.review.previews import facts, recorded, route

A, B, C = "1.4.0", "1.5.0", "1.6.0"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("create", "new service, stable 1.4.0 at 95%, candidate 1.5.0 at 5%"),
        ("update", "candidate 1.5.0 from 5% to 25%, stable 1.4.0 from 95% to 75%"),
        ("revert", "candidate 1.5.0 taken back, from 5% to 0%, stable 1.4.0 from 95% to 100%"),
        ("dropped", "candidate 1.5.0 leaves without traffic"),
        ("promoted", "1.5.0 promoted from 5% to stable, 1.4.0 becomes previous"),
        ("previous-leaves", "previous 1.4.0 leaves"),
        ("delete", "the service leaves, stable 1.4.0 at 95%, candidate 1.5.0 at 5%"),
        ("replace", "no move"),
    ],
)
def test_what_the_real_engine_shows_is_said_in_words(name: str, said: str):
    assert {it: sentence(change) for it, change in changes_of(recorded(name).steps).items()} == {
        "fraud": said
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            Rollout("s", A),
            Rollout("s", A, B, percent=5),
            "candidate 1.5.0 starts at 5%, stable 1.4.0 at 95%",
        ),
        (
            Rollout("s", A),
            Rollout("s", A, B, strategy="shadow"),
            "candidate 1.5.0 starts at 0% (shadow), stable 1.4.0 at 100%",
        ),
        (
            Rollout("s", A, B, percent=50),
            Rollout("s", A, B, percent=25),
            "candidate 1.5.0 from 50% to 25%, stable 1.4.0 from 50% to 75%",
        ),
        (
            Rollout("s", A, B, percent=10),
            Rollout("s", A, C, percent=1),
            (
                "candidate 1.5.0 leaves with 10% of traffic; candidate 1.6.0 starts at 1%, "
                "stable 1.4.0 at 99%"
            ),
        ),
        (
            Rollout("s", A, B, percent=10),
            Rollout("s", A),
            "candidate 1.5.0 leaves with 10% of traffic",
        ),
        (
            Rollout("s", B, previous=A),
            Rollout("s", A, previous=B),
            "stable 1.5.0 back to 1.4.0, 1.5.0 becomes previous",
        ),
        (Rollout("s", A), Rollout("s", C), "stable 1.4.0 at once to 1.6.0, 1.4.0 leaves"),
        (
            Rollout("s", B, C, previous=A, percent=100),
            Rollout("s", C, previous=B),
            "1.6.0 promoted from 100% to stable, 1.5.0 becomes previous; previous 1.4.0 leaves",
        ),
    ],
)
def test_every_move_has_its_words(old: Rollout, new: Rollout, said: str):
    assert sentence(Change("s", old, new)) == said


def test_traffic_moves_with_shares_alone():
    same = Rollout("s", A, B, percent=5)
    assert not Change("s", same, same).moves_traffic
    assert Change("s", same, Rollout("s", A, B, percent=6)).moves_traffic
    assert Change("s", None, Rollout("s", A)).moves_traffic
    assert not Change("s", Rollout("s", A, previous=C), Rollout("s", A)).moves_traffic


@pytest.mark.parametrize(
    "broken",
    [{"moves": "no json"}, {"moves": '[{"at": 1}]'}, {"previous-until": "soon"}, {"stable": ""}],
)
def test_annotations_that_cannot_be_read_say_nothing(broken: dict[str, str]):
    inputs = route("s", {A: 100}, {**facts(A), **broken})
    assert rollout_of(State(inputs)) is None
    assert rollout_of(State({"metadata": {"annotations": "x"}})) is None
    assert rollout_of(State({})) is None
