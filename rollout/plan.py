"""From a verdict to an edit of the stack file: pure, so that it can be replayed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from models.calendar import closed
from models.service import Service
from models.stack import Stack
from models.strategy import AbTest, Shadow
from rollout.edits import AddMove, Drop, Edit, Promote, Restart
from rollout.judge import Verdict

BOT = "drift-check"
"""Who writes moves; its own approval, or that of any other bot, does not count."""


def plan(name: str, stack: Stack, verdict: Verdict | None, now: datetime) -> Edit | None:
    """Returns what to write, or None where nothing is to be done.

    Args:
        name: of the service.
        stack: as declared.
        verdict: on its rollout, as people allow it; None where none is going on.
        now: time of the decision.
    """
    service = stack.services[name]
    return (verdict and _of_verdict(service, verdict)) or _tidy(name, stack, now)


def _of_verdict(service: Service, verdict: Verdict) -> Edit | None:
    rollout = service.rollout
    if rollout is None or rollout.candidate is None:
        return None
    if verdict.kind == "revert":
        if verdict.never_served:
            return Drop("candidate", verdict.reason, reject=True)
        return AddMove(0, verdict.reason, reject=True)
    if verdict.kind == "promote":
        return Promote(verdict.reason)
    if verdict.kind == "advance" and isinstance(service.strategy, Shadow):
        return Drop("candidate", f"the shadow's time is over: {verdict.reason}")
    if verdict.kind == "advance":
        percent = service.strategy.next_percent(rollout.percent)
        return None if percent is None else AddMove(percent, verdict.reason)
    return None


def _tidy(name: str, stack: Stack, now: datetime) -> Edit | None:
    """Returns what time or a person has made due: a new try, or the end of what serves no more."""
    service = stack.services[name]
    rollout = service.rollout
    if rollout is None or rollout.paused or closed((stack.calendar, service.calendar), now):
        return None
    if service.is_taken_back and rollout.candidate:
        if service.versions[rollout.candidate].digest in rollout.retry:
            percent, waits = first_move(name, stack, now)
            return Restart(percent, f"a person set retry{f'; {waits}' if waits else ''}")
        kept = timedelta(seconds=service.keep_previous.for_seconds)
        if now >= rollout.moves[-1].at + kept:
            return Drop("candidate", f"{rollout.candidate} was taken back and kept long enough")
    previous = rollout.previous
    if previous and now >= previous.until and previous.version != rollout.candidate:
        return Drop("previous", f"{previous.version} was kept until {previous.until:%F %H:%M %Z}")
    return None


def as_people_allow(verdict: Verdict, name: str, stack: Stack, now: datetime) -> Verdict:
    """Returns the verdict, or hold where people have declared that traffic may not move now.

    A revert is always allowed.

    Args:
        verdict: of the judge.
        name: of the service; its pause, approvals, calendar and group count.
        stack: as declared.
        now: decides whether a deploy window is open.
    """
    service = stack.services[name]
    if verdict.kind not in ("advance", "promote"):
        return verdict
    verdict = replace(verdict, reason=_decision(service, verdict) + verdict.reason)
    why = waits_for(name, stack, now)
    if why is None:
        return verdict
    return replace(verdict, kind="hold", reason=f"{verdict.reason}; but {why}")


def waits_for(name: str, stack: Stack, now: datetime) -> str | None:
    """Returns what people have declared that keeps a rollout from its next move, or None."""
    service = stack.services[name]
    rollout = service.rollout
    if rollout is None:
        return None
    if why := kept_by(name, stack, now):
        return why
    if rollout.percent == 0 and any(move.percent for move in rollout.moves):
        return f"a person set it to 0: modelramp promote {name} goes on"
    if service.strategy.is_endless and rollout.percent == max(service.strategy.percents):
        return "it runs on and on"
    if rollout.percent == 100 or isinstance(service.strategy, Shadow):
        return None
    percent = service.strategy.next_percent(rollout.percent)
    if percent is not None and lacks_approval(service, percent):
        return approval_wanted(name, percent)
    return None


def kept_by(name: str, stack: Stack, now: datetime) -> str | None:
    """Returns the pause, the calendar or the group that keeps all of a rollout, or None."""
    service = stack.services[name]
    if service.rollout and service.rollout.paused:
        return f"paused: {service.rollout.paused}"
    return closed((stack.calendar, service.calendar), now) or _busy(name, stack.services)


def lacks_approval(service: Service, percent: int) -> bool:
    """Whether a step asks for a person's approval, and has none since the last move."""
    step = service.strategy.step_at(percent)
    if step is None or not step.approve:
        return False
    moves, approvals = (
        (service.rollout.moves, service.rollout.approvals) if service.rollout else ((), ())
    )
    return not any(
        it.percent == percent and is_person(it.by) and (not moves or it.at >= moves[-1].at)
        for it in approvals
    )


def first_move(name: str, stack: Stack, now: datetime) -> tuple[int, str | None]:
    """Returns the percentage that a new candidate begins at, and why that is 0 where it waits."""
    strategy = stack.services[name].strategy
    percent = strategy.first_percent
    step = strategy.step_at(percent)
    why = kept_by(name, stack, now)
    if step and step.approve:
        why = why or approval_wanted(name, percent)
    return (0, why) if why else (percent, None)


def is_over(service: Service) -> bool:
    """Whether nothing is left to judge: no candidate, or one that was taken back."""
    return service.rollout is None or service.rollout.candidate is None or service.is_taken_back


def _busy(name: str, services: Mapping[str, Service]) -> str | None:
    """Says which other service of its group is being rolled out, where this one has to wait for it.

    It waits at 0 only, for those with traffic and those that came before it. What no user sees, or
    what goes on for ever, keeps nobody waiting.
    """
    mine = services[name]
    if mine.group is None or isinstance(mine.strategy, Shadow):
        return None
    if not is_over(mine) and mine.rollout and mine.rollout.percent > 0:
        return None
    for other, service in services.items():
        if other == name or service.group != mine.group or not _keeps_others_waiting(service):
            continue
        if service.rollout and (
            service.rollout.percent or _began(other, service) < _began(name, mine)
        ):
            return f"{other} of group {mine.group} is being rolled out"
    return None


def _keeps_others_waiting(service: Service) -> bool:
    seen_by_users = not isinstance(service.strategy, Shadow)
    return seen_by_users and not is_over(service) and not service.strategy.is_endless


def _began(name: str, service: Service) -> tuple[datetime, str]:
    """Returns the order in which services of a group wait; one that has not begun is last."""
    rollout = service.rollout
    begun = rollout.started_at if rollout and not is_over(service) else None
    return begun or datetime.max.replace(tzinfo=UTC), name


def is_person(by: str) -> bool:
    """Whether who did something is none of the bots: ours, GitHub's, GitLab's access tokens."""
    return by != BOT and not re.search(r"\[bot\]|^(project|group)_\d+_bot", by)


def approval_wanted(name: str, percent: int) -> str:
    """Says that a step waits for a person's approval."""
    return f"{percent}% waits for a person's approval: modelramp approve {name}"


def _decision(service: Service, verdict: Verdict) -> str:
    """Returns what an A/B test has decided, as the begin of a sentence."""
    rollout = service.rollout
    if not isinstance(service.strategy, AbTest) or rollout is None or rollout.percent in (0, 100):
        return ""
    better = [it.name for it in verdict.metrics if it.upper is not None and it.upper < 0]
    if better:
        return f"the candidate wins in {', '.join(better)}: "
    return "" if service.strategy.is_endless else "no difference beyond the margin: "
