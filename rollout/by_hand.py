"""What a person's command becomes: an edit of the stack file, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from models.errors import StackFileError
from models.rollout import Rollout
from models.service import Service
from models.stack import Stack
from models.strategy import Shadow
from rollout.edits import AddMove, Approve, Edit, Pause, Promote, Restart, Resume, Retry
from rollout.plan import first_move, is_person, kept_by, lacks_approval


def promote(
    name: str, stack: Stack, now: datetime, why: str, *, full: bool = False, force: bool = False
) -> Edit:
    """Returns the next step; at the last one, the candidate becomes stable.

    Args:
        name: of the service.
        stack: as declared.
        now: decides whether a deploy window is open.
        why: for the log and the file.
        full: straight to 100%.
        force: also where a pause, the calendar or the group keeps it; never without an approval
            that a step asks for.

    Raises:
        StackFileError: nothing is there to promote, or something keeps it.
    """
    service, rollout = _candidate(name, stack)
    if isinstance(service.strategy, Shadow):
        raise StackFileError(
            f"{name}: a shadow never gets traffic; give the service another strategy"
        )
    if not force and (kept := kept_by(name, stack, now)):
        raise StackFileError(f"{name} may not move, {kept}; --force promotes it all the same")
    following = service.strategy.next_percent(rollout.percent)
    last = max(service.strategy.percents)
    to = last if full and last > rollout.percent else following
    skipped = [
        step.percent
        for step in service.strategy.walk
        if rollout.percent < step.percent <= (to or 0) and lacks_approval(service, step.percent)
    ]
    if skipped:
        waits = " and ".join(f"{it}%" for it in skipped)
        raise StackFileError(f"{name}: {waits} asks for an approval: modelramp approve {name}")
    return Promote(why) if to is None else AddMove(to, why)


def pause(name: str, stack: Stack, why: str) -> Edit:
    """Returns the edit after which nothing but a revert moves.

    Raises:
        StackFileError: no version is deployed yet, or it is paused already.
    """
    rollout = _rollout(name, stack)
    if rollout.paused:
        raise StackFileError(f"{name} is paused already: {rollout.paused}")
    return Pause(why)


def resume(name: str, stack: Stack, why: str) -> Edit:
    """Returns the edit that ends a pause.

    Raises:
        StackFileError: there is none.
    """
    if not _rollout(name, stack).paused:
        raise StackFileError(f"{name} is not paused")
    return Resume(why)


def approve(name: str, stack: Stack, percent: int | None, why: str, *, by: str) -> Edit:
    """Returns a person's yes to the next step.

    Args:
        name: of the service.
        stack: as declared.
        percent: the step that is meant; the next one, if None.
        why: for the log.
        by: who approves.

    Raises:
        StackFileError: it is a bot, or the next step is another one or asks for no approval.
    """
    if not is_person(by):
        raise StackFileError(f"{by} is a bot: only a person's approval counts")
    service, rollout = _candidate(name, stack)
    following = service.strategy.next_percent(rollout.percent)
    if following is None:
        raise StackFileError(f"{name} is at its last step, {rollout.percent}%: nothing to approve")
    if percent not in (None, following):
        raise StackFileError(
            f"{name}: the next step is {following}%, not {percent}%; an approval is of the next one"
        )
    step = service.strategy.step_at(following)
    if step is None or not step.approve:
        raise StackFileError(f"{name}: the next step, {following}%, asks for no approval")
    if not lacks_approval(service, following):
        raise StackFileError(f"{name}: {following}% is approved already")
    return Approve(following, by, why)


def retry(
    name: str,
    stack: Stack,
    which: str | None,
    now: datetime,
    why: str,
    log: Sequence[Mapping[str, Any]] = (),
) -> Edit:
    """Returns the edit that lets what was taken back be tried again.

    A candidate that is still declared begins anew; any other digest may be deployed again.

    Args:
        name: of the service.
        stack: as declared.
        which: a version or a digest; the candidate, or the only one taken back, if None.
        now: decides whether it has to wait for a deploy window.
        why: for the log and the file.
        log: lines of the service's history: they know versions that are declared no more.

    Raises:
        StackFileError: it was not taken back, or may be tried again already.
    """
    service, rollout = stack.services[name], _rollout(name, stack)
    rejected = list(dict.fromkeys(it.digest for it in rollout.rejected))
    candidate = rollout.candidate if service.is_taken_back else None
    begun = service.versions[candidate].digest if candidate else None
    there = ", ".join(rejected) or "none"
    if which is None:
        waiting = [begun] if begun else [it for it in rejected if it not in rollout.retry]
        if len(waiting) != 1:
            raise StackFileError(f"{name}: say which; taken back are: {there}")
        digest = waiting[0]
    else:
        digest = _digest(service, which, log)
    if digest not in rejected:
        raise StackFileError(f"{name}: {which} was not taken back; taken back are: {there}")
    if digest == begun:
        percent, waits = first_move(name, stack, now)
        return Restart(percent, f"{why}; it begins at 0: {waits}" if waits else why)
    if digest in rollout.retry:
        raise StackFileError(f"{name}: {digest} may be deployed again already")
    return Retry(digest, why)


def _rollout(name: str, stack: Stack) -> Rollout:
    rollout = stack.services[name].rollout
    if rollout is None:
        raise StackFileError(f"{name} has no version yet: modelramp deploy {name} VERSION")
    return rollout


def _candidate(name: str, stack: Stack) -> tuple[Service, Rollout]:
    service, rollout = stack.services[name], _rollout(name, stack)
    if rollout.candidate is None:
        raise StackFileError(f"{name} has no candidate: modelramp deploy {name} VERSION")
    if service.is_taken_back:
        raise StackFileError(f"{name} {rollout.candidate} was taken back: modelramp retry {name}")
    return service, rollout


def _digest(service: Service, which: str, log: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns the digest that a version or a digest means, None where neither is known."""
    if which.startswith("sha256:"):
        return which
    if which in service.versions:
        return service.versions[which].digest
    # The digest of a rollback's line may be that of stable.
    found = [
        line["digest"]
        for line in log
        if line.get("candidate") == which and line.get("verdict") != "rollback"
    ]
    return found[-1] if found else None
