"""When traffic may move: deploy windows and freezes, each with its time zone.

A move to 0 is always allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.base import Declared

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_CLOCK = r"^\d{2}:\d{2}(:\d{2})?$"
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown, no path, a folder of zones
        raise ValueError(
            f"{value!r} is no time zone; write a name such as Europe/Berlin or UTC"
        ) from None
    return value


def _clock(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(_CLOCK, value):
        raise ValueError('a time of day is a quoted string such as "09:30"')
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""A name of the IANA time zone database."""

Clock = Annotated[
    time,
    BeforeValidator(_clock, json_schema_input_type=Annotated[str, Field(pattern=_CLOCK)]),
]
"""A time of day, without a zone."""


class DeployWindow(Declared):
    """A span of each of some days in which traffic may move.

    Attributes:
        days: of the week; every day if absent.
        start: first moment of it, as the clocks in `zone` show it.
        end: first moment after it; before `start`, it is of the next day.
        zone: time zone of both.
    """

    days: tuple[Day, ...] = Field(_DAYS, min_length=1)
    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")
    zone: TimeZone

    @model_validator(mode="after")
    def _not_empty(self) -> DeployWindow:
        if self.start == self.end:
            raise ValueError(f"from and to are both {self.start:%H:%M}: leave the window out")
        return self

    def contains(self, at: datetime) -> bool:
        """Whether a moment lies in the window."""
        local = at.astimezone(ZoneInfo(self.zone))
        clock, today = local.time(), local.weekday()
        if self.start < self.end:
            return _DAYS[today] in self.days and self.start <= clock < self.end
        # Over midnight: the day is that of its start.
        late = clock >= self.start and _DAYS[today] in self.days
        return late or (clock < self.end and _DAYS[today - 1] in self.days)


class Freeze(Declared):
    """Whole days in which no traffic moves.

    Attributes:
        first: first day of it.
        last: last day of it.
        zone: time zone of the days.
        why: shown where a move has to wait.
    """

    first: date = Field(alias="from")
    last: date = Field(alias="to")
    zone: TimeZone
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.last < self.first:
            raise ValueError(f"from {self.first} is after to {self.last}")
        return self

    def contains(self, at: datetime) -> bool:
        """Whether a moment lies in the freeze."""
        return self.first <= at.astimezone(ZoneInfo(self.zone)).date() <= self.last


class Calendar(Declared):
    """When traffic may move.

    Attributes:
        windows: it may in any of them; always, where there is none.
        freezes: it may in none of them.
    """

    windows: tuple[DeployWindow, ...] = ()
    freezes: tuple[Freeze, ...] = ()


def closed(calendars: Sequence[Calendar], at: datetime) -> str | None:
    """Says why traffic may not move at a moment, or returns None where it may.

    Args:
        calendars: of the stack and of the service; every one of them must allow it.
        at: the moment, with a time zone.
    """
    for calendar in calendars:
        for freeze in calendar.freezes:
            if freeze.contains(at):
                return f"frozen until the end of {freeze.last} ({freeze.zone}): {freeze.why}"
        if calendar.windows and not any(window.contains(at) for window in calendar.windows):
            return "outside the deploy windows"
    return None
