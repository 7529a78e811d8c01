"""How each service of a stack stands: what serves, what its rollout waits for, how long still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.service import Service
from models.stack import Stack
from rollout import history
from rollout.drift_check import Outcome
from rollout.plan import is_over, waits_for


@dataclass(frozen=True)
class Status:
    """How a service stands.

    Attributes:
        name: of the service.
        service: as declared.
        outcome: what drift-check would do now.
        seconds_at_step: since the last move; None without a candidate.
        waits: for what, each as a phrase: people first, then evidence.
        seconds_left: until this step is over, at today's traffic; None where that is not known or
            not a matter of traffic.
    """

    name: str
    service: Service
    outcome: Outcome
    seconds_at_step: float | None
    waits: tuple[str, ...]
    seconds_left: float | None

    @property
    def is_in_rollout(self) -> bool:
        """Whether there is a candidate that was not taken back."""
        return not is_over(self.service)

    @property
    def step(self) -> tuple[int, int]:
        """The number of the present step, from 1 (0: before the first), and how many there are."""
        percents = [step.percent for step in self.service.strategy.walk]
        now = self.service.rollout.percent if self.service.rollout else 0
        return sum(percent <= now for percent in percents), len(percents)


def statuses(stack: Stack, outcomes: Iterable[Outcome], now: datetime) -> list[Status]:
    """Returns how services stand, those in a rollout first.

    Args:
        stack: as declared.
        outcomes: of a dry run of drift-check.
        now: decides how long a step has lasted and whether a deploy window is open.
    """
    found = [_status(it, stack, now) for it in outcomes if it.service in stack.services]
    return sorted(found, key=lambda it: not it.is_in_rollout)


def as_json(status: Status) -> dict[str, Any]:
    """Returns how a service stands, for machines."""
    rollout, verdict = status.service.rollout, status.outcome.verdict
    step, steps = status.step
    return {
        "service": status.name,
        "owner": status.service.owner,
        "inRollout": status.is_in_rollout,
        "percents": status.service.percents(),
        "strategy": status.service.strategy.kind,
        "step": step,
        "steps": steps,
        "secondsAtStep": status.seconds_at_step,
        "waitsFor": list(status.waits),
        "secondsLeft": status.seconds_left,
        "wouldMoveTo": status.outcome.to_percent,
        "rollout": rollout and rollout.model_dump(mode="json", by_alias=True, exclude_none=True),
        **(history.as_json(verdict) if verdict else {"verdict": None}),
    }


def _status(outcome: Outcome, stack: Stack, now: datetime) -> Status:
    service, verdict = stack.services[outcome.service], outcome.verdict
    rollout = service.rollout
    begun = rollout.moves[-1].at if rollout and rollout.moves else None
    people = None if is_over(service) else waits_for(outcome.service, stack, now)
    return Status(
        name=outcome.service,
        service=service,
        outcome=outcome,
        seconds_at_step=(now - begun).total_seconds() if begun else None,
        waits=(*((people,) if people else ()), *(verdict.needed.reasons if verdict else ())),
        seconds_left=None if people is not None or verdict is None else verdict.needed.seconds,
    )
