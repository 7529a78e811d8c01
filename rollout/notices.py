"""What there is to tell of a round of drift-check or of a person's command, and in which words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.notifications import Event
from models.stack import Stack
from rollout.drift_check import Outcome, outcome_json
from rollout.edits import AddMove, Drop, Promote, Restart, Restore, is_revert
from rollout.judge.sentences import span
from rollout.plan import approval_wanted, waits_for

LONGEST_REASON = 500
"""Characters of a reason in a chat; Slack takes 3,000 a block, and escapes count."""


@dataclass(frozen=True)
class Notice:
    """Something to tell.

    Attributes:
        event: what happened.
        stack: name of the stack.
        outcome: what was decided.
        by: who or what decided.
        at: when.
        step_at: since when the present step lasts; a hold and an approval are told once a step.
    """

    event: Event
    stack: str
    outcome: Outcome
    by: str
    at: datetime
    step_at: datetime | None

    @property
    def seconds_at_step(self) -> float:
        """For how long the present step has lasted."""
        return (self.at - self.step_at).total_seconds() if self.step_at else 0.0


def notices(
    stack_name: str, stack: Stack, outcomes: Iterable[Outcome], now: datetime, *, by: str
) -> list[Notice]:
    """Returns what there is to tell of outcomes.

    Args:
        stack_name: of the stack.
        stack: as it was when it was decided.
        outcomes: of all services.
        now: when it was decided.
        by: who or what decided.
    """
    found: list[Notice] = []
    for outcome in outcomes:
        if outcome.service not in stack.services:
            continue  # declared while it was decided
        rollout = stack.services[outcome.service].rollout
        step_at = rollout.moves[-1].at if rollout and rollout.moves else None
        found += [
            Notice(event, stack_name, outcome, by, now, step_at)
            for event in _events(outcome, stack, now)
        ]
    return found


def text(notice: Notice) -> str:
    """Returns a notice as one line for people."""
    it = notice.outcome
    version = it.stable if isinstance(it.edit, Restore) else it.candidate
    reason = it.edit.why if it.edit else it.verdict.reason if it.verdict else ""
    reason = " ".join(reason.split())
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]} ..."
    return f"{notice.stack}: {it.service} {version} {_happened(notice)}: {reason}"


def webhook_body(notice: Notice) -> dict[str, Any]:
    """Returns a notice for machines: the outcome as `drift-check --json` prints it, and more."""
    return {
        "event": notice.event,
        "stack": notice.stack,
        "by": notice.by,
        "at": notice.at.isoformat(timespec="seconds"),
        "text": text(notice),
        **outcome_json(notice.outcome),
    }


def slack_body(notice: Notice) -> dict[str, Any]:
    """Returns a notice as Slack takes it; nothing that people wrote is a link or a mention."""
    line, by = _escaped(text(notice)), _escaped(notice.by)
    context = {"type": "mrkdwn", "text": f"{notice.event} by {by}"}
    return {
        "text": line,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": line}},
            {"type": "context", "elements": [context]},
        ],
    }


def _events(outcome: Outcome, stack: Stack, now: datetime) -> Iterator[Event]:
    edit, verdict = outcome.edit, outcome.verdict
    if edit is not None:
        moves = isinstance(edit, AddMove | Promote | Restart)
        if is_revert(edit):
            yield "revert"
        elif moves or (isinstance(edit, Drop) and verdict):
            yield "move"
        return
    if verdict is None or verdict.kind not in ("hold", "no-data"):
        return
    service = stack.services[outcome.service]
    following = service.strategy.next_percent(outcome.from_percent)
    waits = waits_for(outcome.service, stack, now)
    # Told once there is the evidence for the step, not while that is still being gathered.
    asks = following is not None and waits == approval_wanted(outcome.service, following)
    if waits and asks and verdict.reason.endswith(waits):
        yield "approval"
    lasts = service.strategy.is_endless and outcome.from_percent == max(service.strategy.percents)
    if not lasts:
        yield "hold"


def _happened(notice: Notice) -> str:
    it = notice.outcome
    percents = f"{it.from_percent}% to {it.to_percent}%"
    match notice.event:
        case "revert":
            return f"is taken back, {percents}" if it.from_percent else "is taken back"
        case "approval":
            return f"wants an approval at {it.from_percent}%"
        case "hold":
            return f"has been at {it.from_percent}% for {span(notice.seconds_at_step)}"
        case "move":
            if isinstance(it.edit, Promote):
                return "becomes stable"
            return "leaves" if isinstance(it.edit, Drop) else percents


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
