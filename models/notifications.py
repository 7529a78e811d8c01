"""Who hears of rollouts: of moves, reverts, long holds, and approvals that are wanted."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from models.base import Declared, DurationSeconds, Name, refuse
from models.metrics_server import Secret

Event = Literal["move", "revert", "hold", "approval"]


class Receiver(Declared):
    """One that is told.

    Attributes:
        name: for warnings, and to remember what it was told.
        kind: `webhook` gets the outcome of drift-check as JSON, `slack` a message as Slack and what
            is compatible with it take it.
        url_from: where its URL is found; who knows that can write there, so it is a secret.
        on: of what it is told: `move` (a step, a promotion), `revert` (also a rollback), `hold`
            (for `holdAfter` at one step, once a step), `approval` (a person's is wanted, once).
        hold_after_seconds: how long a step may last before a hold is told.
    """

    name: Name
    kind: Literal["webhook", "slack"]
    url_from: Secret
    on: tuple[Event, ...] = Field(("move", "revert", "hold", "approval"), min_length=1)
    hold_after_seconds: DurationSeconds = Field(21600.0, alias="holdAfter")

    @model_validator(mode="before")
    @classmethod
    def _no_url(cls, declared: object) -> object:
        # Before all else: what is said of a wrong value shows it.
        if "://" in str(declared):
            raise ValueError(
                "its URL is a secret, and stands in here: write urlFrom: {env: VARIABLE} or "
                "{file: path} instead, and take a new URL"
            )
        return declared


class Notifications(Declared):
    """Who hears of rollouts.

    Attributes:
        receivers: each is told of what it asks for.
    """

    receivers: tuple[Receiver, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Notifications:
        counted = Counter(receiver.name for receiver in self.receivers)
        refuse([f"two receivers are named {name}" for name, n in counted.items() if n > 1])
        return self
