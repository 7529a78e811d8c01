"""What may be written into a service's rollout: the words of the plan, of commands and the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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


@dataclass(frozen=True)
class Restore:
    """The previous version is stable again; what was stable is a rejected candidate at 0."""

    why: str


@dataclass(frozen=True)
class Restart:
    """A candidate that was taken back begins anew, without the evidence against it."""

    percent: int
    why: str


@dataclass(frozen=True)
class Drop:
    """A version leaves the rollout, and its declaration the file; it must be at 0, or never served.

    With `reject`, its digest is not tried again.
    """

    role: Literal["candidate", "previous"]
    why: str
    reject: bool = False


@dataclass(frozen=True)
class Pause:
    """Nothing but a revert moves any more."""

    why: str


@dataclass(frozen=True)
class Resume:
    """Ends a pause."""

    why: str


@dataclass(frozen=True)
class Approve:
    """A person's yes to the step of this percentage."""

    percent: int
    by: str
    why: str


@dataclass(frozen=True)
class Retry:
    """A rejected digest may be deployed again."""

    digest: str
    why: str


Edit = AddMove | Promote | Restore | Restart | Drop | Pause | Resume | Approve | Retry


def to_percent(edit: Edit, before: int) -> int:
    """Returns the candidate's percentage after an edit; `before` where it moves nothing."""
    if isinstance(edit, AddMove | Restart):
        return edit.percent
    leaves = isinstance(edit, Restore) or (isinstance(edit, Drop) and edit.role == "candidate")
    return 0 if leaves else before


def word(edit: Edit, *, by_person: bool) -> str:
    """Returns what the log calls an edit."""
    if isinstance(edit, Restore) or (by_person and is_revert(edit)):
        return "rollback"
    if is_revert(edit):
        return "revert"
    return _WORDS[type(edit)]


def is_revert(edit: Edit) -> bool:
    """Whether an edit takes traffic from a version that is not wanted: always allowed."""
    return isinstance(edit, Restore) or (isinstance(edit, AddMove | Drop) and edit.reject)


_WORDS: dict[type[Edit], str] = {
    AddMove: "advance",
    Promote: "promote",
    Restart: "retry",
    Drop: "archive",
    Pause: "pause",
    Resume: "resume",
    Approve: "approve",
    Retry: "retry",
}
