"""What a check needs, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a requirement is met."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "could not be checked"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        subject: what it belongs to; a section of docs/clusters.md.
        name: of the check, unique.
        state: how it is met.
        saw: what was there.
        why: what it is needed for, in one clause.
        remedy: how to get it; empty where all is well.
        needed: whether models can be rolled out without it; if so, it is a warning.
    """

    subject: str
    name: str
    state: State
    saw: str
    why: str
    remedy: str
    needed: bool

    @property
    def is_problem(self) -> bool:
        """Whether something that is needed is not known to be there."""
        return self.needed and self.state is not State.OK

    @property
    def is_warning(self) -> bool:
        """Whether something else is to be said."""
        return not self.needed and self.state is not State.OK


@dataclass(frozen=True)
class Unreadable:
    """Stands for what could not be read.

    Attributes:
        why: for the user.
        remedy: how it can be read.
    """

    why: str
    remedy: str


@dataclass(frozen=True)
class Requirement:
    """One thing that a target must have.

    Attributes:
        subject: what it belongs to; a section of docs/clusters.md.
        name: of the check, unique.
        why: what it is needed for, in one clause.
        remedy: how to get it.
        needed: whether models can be rolled out without it.
    """

    subject: str
    name: str
    why: str
    remedy: str
    needed: bool = True

    def ok(self, saw: str) -> Finding:
        """It is there."""
        return Finding(self.subject, self.name, State.OK, saw, self.why, "", self.needed)

    def missing(
        self, saw: str, *, remedy: str | None = None, needed: bool | None = None
    ) -> Finding:
        """It is not there."""
        return self._not_ok(State.MISSING, saw, remedy, needed)

    def wrong(self, saw: str, *, remedy: str | None = None, needed: bool | None = None) -> Finding:
        """It is there, but not as it must be."""
        return self._not_ok(State.WRONG, saw, remedy, needed)

    def unknown(
        self, saw: str, *, remedy: str | None = None, needed: bool | None = None
    ) -> Finding:
        """Nobody knows whether it is there."""
        return self._not_ok(State.UNKNOWN, saw, remedy, needed)

    def unreadable(self, answer: Unreadable) -> Finding:
        """What would tell could not be read."""
        return self._not_ok(State.UNKNOWN, answer.why, answer.remedy, None)

    def _not_ok(self, state: State, saw: str, remedy: str | None, needed: bool | None) -> Finding:
        return Finding(
            self.subject,
            self.name,
            state,
            saw,
            self.why,
            self.remedy if remedy is None else remedy,
            self.needed if needed is None else needed,
        )
