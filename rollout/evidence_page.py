"""What a move is, and what it stands on, as people read it in git."""

from __future__ import annotations

import textwrap

from rollout import evidence
from rollout.drift_check import Outcome
from rollout.edits import AddMove, Drop, Edit, Promote, Restart, is_revert

WIDTH = 72


def headline(outcome: Outcome, edit: Edit) -> str:
    """Says a move in a line: `fraud: candidate 1.5.0 from 5% to 25%`."""
    name, candidate = outcome.service, outcome.candidate
    match edit:
        case AddMove() if is_revert(edit):
            return f"{name}: candidate {candidate} taken back, from {outcome.from_percent}% to 0%"
        case AddMove():
            percents = f"from {outcome.from_percent}% to {outcome.to_percent}%"
            return f"{name}: candidate {candidate} {percents}"
        case Promote():
            return f"{name}: {candidate} becomes stable, {outcome.stable} previous"
        case Restart():
            return f"{name}: candidate {candidate} begins anew at {edit.percent}%"
        case Drop(role="candidate"):
            return f"{name}: candidate {candidate} leaves"
        case Drop():
            return f"{name}: the previous version leaves"
        case _:
            raise AssertionError(edit)


def commit_message(outcome: Outcome) -> str:
    """Returns the message of the commit of an edit: the move, why, and its evidence.

    Args:
        outcome: with an edit.
    """
    assert outcome.edit is not None  # noqa: S101  nothing else is committed
    verdict = outcome.verdict
    rows = evidence.rows(verdict) if verdict else []
    lines = [
        f"{row['name']}: stable {row['stable']}, candidate {row['candidate']}, "
        f"difference {row['difference']}, bounds {row['bounds']}"
        for row in rows
    ]
    told = [textwrap.fill(" ".join(it.split()), WIDTH) for it in (outcome.edit.why, *lines)]
    return "\n\n".join(
        [headline(outcome, outcome.edit), told[0], *(["\n".join(told[1:])] * bool(rows))]
    )
