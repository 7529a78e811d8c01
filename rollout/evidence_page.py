"""What a move is, and what it stands on, as people read it in git."""

from __future__ import annotations

import textwrap

from rollout import evidence
from rollout.drift_check import Outcome
from rollout.edits import AddMove, Drop, Edit, Promote, Restart, is_revert
from rollout.markdown import plain, target

WIDTH = 72
KEPT = (
    "_Kept by `drift-check --pull-request`: this branch is the base and one commit, and is written "
    "anew while the move stands; the request is closed when it does not._"
)


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


def title(outcome: Outcome, stack: str) -> str:
    """Returns the title of a pull request."""
    assert outcome.edit is not None  # noqa: S101  nothing else is proposed
    revert = "REVERT " if is_revert(outcome.edit) else ""
    return f"{revert}{stack}: {headline(outcome, outcome.edit)}"


def body(outcome: Outcome, stack: str, evidence_url: str | None) -> str:
    """Returns the text of a pull request, as Markdown: what moves, why, and the evidence.

    Args:
        outcome: with an edit.
        stack: name of the stack.
        evidence_url: of a page with plots, if there is one.
    """
    assert outcome.edit is not None  # noqa: S101  nothing else is proposed
    rows = evidence.rows(outcome.verdict) if outcome.verdict else []
    columns = ("name", "stable", "candidate", "difference", "bounds", "harm", "says")
    table = [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(plain(row[key]) for key in columns)} |" for row in rows),
    ]
    parts = [
        f"**{plain(headline(outcome, outcome.edit))}**",
        plain(outcome.edit.why),
        "\n".join(table) if rows else "",
        "Differences and bounds are in points, above 0 is worse; harm is the evidence for it, and "
        "in brackets what reverts."
        if rows
        else "",
        f"[Plots of the evidence]({target(evidence_url)})" if evidence_url else "",
        f"Once merged, `pulumi up --stack {stack}` makes it so; nothing else does.",
        KEPT,
    ]
    return "\n\n".join(part for part in parts if part)
