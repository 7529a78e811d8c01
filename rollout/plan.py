"""From a verdict to an edit of the stack file: pure, so that it can be replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from models.calendar import Calendar, closed
from models.service import Service
from rollout.judge import Verdict


@dataclass(frozen=True)
class AddMove:
    """Set the candidate's percentage; a revert is a move to 0 that also rejects the digest."""

    percent: int
    why: str
    reject: bool = False


@dataclass(frozen=True)
class Promote:
    """The candidate becomes stable, the old stable previous."""

    why: str


Edit = AddMove | Promote


def plan(service: Service, verdict: Verdict) -> Edit | None:
    """Returns what to write, or None where nothing is to be done."""
    rollout = service.rollout
    if rollout is None or rollout.candidate is None:
        return None
    if verdict.kind == "revert":
        return AddMove(0, verdict.reason, reject=True)
    if verdict.kind == "promote":
        return Promote(verdict.reason)
    if verdict.kind == "advance":
        percent = service.strategy.next_percent(rollout.percent)
        return None if percent is None else AddMove(percent, verdict.reason)
    return None


def as_people_allow(
    verdict: Verdict, service: Service, calendar: Calendar, now: datetime
) -> Verdict:
    """Returns the verdict, or hold where people have declared that traffic may not move now.

    A revert is always allowed.

    Args:
        verdict: of the judge.
        service: its pause, approvals and calendar count.
        calendar: of the stack.
        now: decides whether a deploy window is open.
    """
    why = _waits_for(verdict, service, calendar, now)
    if why is None:
        return verdict
    return replace(verdict, kind="hold", reason=f"{verdict.reason}; but {why}")


def _waits_for(verdict: Verdict, service: Service, calendar: Calendar, now: datetime) -> str | None:
    rollout = service.rollout
    if rollout is None or verdict.kind not in ("advance", "promote"):
        return None
    if rollout.paused:
        return f"paused: {rollout.paused}"
    if why := closed((calendar, service.calendar), now):
        return why
    percent = service.strategy.next_percent(rollout.percent)
    step = None if percent is None else service.strategy.step_at(percent)
    if verdict.kind == "advance" and step is None:
        return f"strategy {service.strategy.kind} has no further step"
    last = rollout.moves[-1].at if rollout.moves else now
    approved = {it.percent for it in rollout.approvals if it.at >= last}
    if verdict.kind == "advance" and step and step.approve and step.percent not in approved:
        return f"{step.percent}% waits for a person's approval"
    return None


def is_over(service: Service) -> bool:
    """Whether nothing is left to judge: no candidate, or one that was taken back."""
    return service.rollout is None or service.rollout.candidate is None or service.is_taken_back
