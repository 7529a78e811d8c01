"""The state of a rollout, as the stack file holds it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from models.base import Declared, Digest, DurationSeconds, Percent, SemanticVersion, refuse


class Move(Declared):
    """One change of the candidate's percentage.

    Attributes:
        percent: the candidate's share of traffic from then on.
        at: when it was decided.
        why: in a sentence.
    """

    percent: Percent
    at: AwareDatetime
    why: str | None = None


class Rejected(Declared):
    """A digest that was reverted; it is not tried again.

    Attributes:
        digest: of the artifact.
        at: when it was taken back.
        why: in a sentence.
    """

    digest: Digest
    at: AwareDatetime
    why: str


class Previous(Declared):
    """The last stable version, kept at least until then.

    Attributes:
        version: that was stable before.
        until: when it may go; drift-check then takes it out of the file.
    """

    version: SemanticVersion
    until: AwareDatetime


class KeepPrevious(Declared):
    """How long, at least, the last stable version goes on running after a promotion.

    Attributes:
        for_seconds: after the promotion.
        replicas: `same`: as many pods as before, so that a switch back is instant. `min`: one, so
            that a switch back waits for the others.
    """

    for_seconds: DurationSeconds = Field(86400.0, alias="for")
    replicas: Literal["same", "min"] = "same"


class Approval(Declared):
    """A person's yes to a step that asks for it.

    Attributes:
        percent: of the step.
        by: who approved.
        at: when.
    """

    percent: Percent
    by: str = Field(min_length=1)
    at: AwareDatetime


class Rollout(Declared):
    """What is declared now. Written by drift-check; a person may edit it, and then wins.

    Attributes:
        stable: the version that is the yardstick.
        candidate: the version under test.
        moves: every change of the candidate's percentage; the last one is what is declared now.
        previous: the last stable version.
        rejected: what was taken back.
        paused: why nothing but a revert may move; it may if absent.
        approvals: of steps that ask for one, in this rollout.
        retry: digests that may be tried again although they were taken back.
    """

    stable: SemanticVersion
    candidate: SemanticVersion | None = None
    moves: tuple[Move, ...] = ()
    previous: Previous | None = None
    rejected: tuple[Rejected, ...] = ()
    paused: Annotated[str, Field(min_length=1)] | None = None
    approvals: tuple[Approval, ...] = ()
    retry: tuple[Digest, ...] = ()

    @property
    def percent(self) -> int:
        """The candidate's percentage that is declared now."""
        return self.moves[-1].percent if self.moves else 0

    @property
    def before_percent(self) -> int:
        """The candidate's percentage before the last move."""
        return self.moves[-2].percent if len(self.moves) > 1 else 0

    @property
    def started_at(self) -> datetime | None:
        """When the first move was decided."""
        return self.moves[0].at if self.moves else None

    @model_validator(mode="after")
    def _consistent(self) -> Rollout:
        rules = (
            (self.candidate == self.stable, "candidate and stable are the same version"),
            (
                bool(self.moves) != bool(self.candidate),
                "candidate and moves come together: one is missing",
            ),
            (
                any(earlier.at > later.at for earlier, later in pairwise(self.moves)),
                "moves must be in order of time",
            ),
        )
        refuse([what for wrong, what in rules if wrong])
        return self
