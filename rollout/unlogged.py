"""Moves that people wrote into a stack file themselves, for the deployment log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from models.rollout import Rollout
from rollout.history import line_of

VERDICT = "by hand"
"""In the deployment log."""


def unlogged(
    service: str,
    rollout: Rollout,
    logged: Sequence[Mapping[str, Any]],
    *,
    by: str,
    digests: Mapping[str, str],
    commit: str | None,
) -> list[dict[str, Any]]:
    """Returns the log lines of the moves of the present candidate that have none, oldest first.

    Commands and drift-check write a line with each move; who edits the file writes none.

    Args:
        service: its name.
        rollout: as it is declared.
        logged: the lines that are there.
        by: who edited the file.
        digests: of the artifacts, by version.
        commit: that has the edit.
    """
    known = {_second(datetime.fromisoformat(it["at"])) for it in logged}
    found: list[dict[str, Any]] = []
    before = 0
    for move in rollout.moves:
        if _second(move.at) not in known:
            found.append(
                line_of(
                    move.at,
                    service,
                    (rollout.stable, rollout.candidate),
                    (before, move.percent),
                    {"verdict": VERDICT, "reason": move.why or "edited in the stack file"},
                    by=by,
                    digest=digests.get(rollout.candidate or ""),
                    commit=commit,
                )
            )
        before = move.percent
    return found


def _second(at: datetime) -> int:
    return int(at.timestamp())
