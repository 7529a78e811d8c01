# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from models.calendar import Calendar, closed

OFFICE = {"days": ["mon", "fri"], "from": "09:00", "to": "17:00", "zone": "Europe/Berlin"}
NIGHT = {"days": ["fri"], "from": "22:00", "to": "06:00", "zone": "UTC"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        (OFFICE, "2026-11-23T08:00", True),  # Monday, nine in Berlin
        (OFFICE, "2026-11-23T07:59", False),
        (OFFICE, "2026-11-23T16:00", False),  # five in Berlin: the end is not in it
        (OFFICE, "2026-11-24T10:00", False),  # Tuesday
        (OFFICE, "2026-07-06T07:00", True),  # Monday in summer time
        (OFFICE, "2026-07-06T15:00", False),
        (NIGHT, "2026-11-27T23:00", True),
        (NIGHT, "2026-11-28T05:59", True),  # Saturday morning is still Friday's night
        (NIGHT, "2026-11-28T06:00", False),
        (NIGHT, "2026-11-27T05:00", False),  # Thursday's night
    ],
)
def test_a_window_is_open_by_the_clocks_of_its_zone(window, moment, is_open):
    calendar = Calendar.model_validate({"windows": [window]})
    assert (closed([calendar], at(moment)) is None) == is_open


def test_every_calendar_has_to_allow_it_and_a_freeze_beats_a_window():
    always = Calendar.model_validate({})
    days = {"from": "2026-11-23", "to": "2026-11-24", "zone": "America/New_York", "why": "sale"}
    frozen = Calendar.model_validate({"windows": [OFFICE], "freezes": [days]})
    assert closed([always, frozen], at("2026-11-23T10:00")) == (
        "frozen until the end of 2026-11-24 (America/New_York): sale"
    )
    assert closed([always, frozen], at("2026-11-23T04:59")) == "outside the deploy windows"
    assert closed([always], at("2026-11-23T10:00")) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({**OFFICE, "zone": "Mars/Base"}, "no time zone"),
        ({**OFFICE, "to": "09:00"}, "from and to are both 09:00"),
        ({**OFFICE, "from": 900}, "quoted string"),
        ({**OFFICE, "days": []}, "at least 1 item"),
    ],
)
def test_a_wrong_window_is_refused(wrong, says):
    with pytest.raises(ValidationError, match=says):
        Calendar.model_validate({"windows": [wrong]})
