# pyright: basic
from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.errors import ConfigError
from models.notifications import Notifications, Receiver
from models.stack import parse_stack
from tests.stacks import LOCAL

OPS = {"name": "ops", "kind": "slack", "urlFrom": {"env": "HOOK"}}


def test_a_receiver_hears_of_everything_unless_it_says_otherwise():
    receiver = Receiver.model_validate(OPS)
    assert receiver.on == ("move", "revert", "hold", "approval")
    assert receiver.hold_after_seconds == 6 * 3600


@pytest.mark.parametrize(
    ("receivers", "says"),
    [
        ([], "at least 1 item"),
        ([OPS, OPS], "two receivers are named ops"),
        ([{**OPS, "urlFrom": {"env": "HOOK", "file": "x"}}], "give one of env"),
        ([{**OPS, "on": []}], "at least 1 item"),
        ([{**OPS, "on": ["moves"]}], "'move', 'revert', 'hold' or 'approval'"),
        ([{**OPS, "holdAfter": 6}], "a duration needs a unit"),
    ],
)
def test_what_cannot_be_is_said(receivers, says):
    with pytest.raises(ValidationError, match=says):
        Notifications.model_validate({"receivers": receivers})


@pytest.mark.parametrize(
    "place",
    [
        "urlFrom: https://x.example/T0KEN",
        "url: https://x.example/T0KEN",
        "urlFrom: {env: 'https://x.example/T0KEN'}",
        "urlFrom: {file: 'https://x.example/T0KEN'}",
    ],
)
def test_a_url_in_the_file_is_refused_and_not_shown(place):
    declared = f"modelramp:notifications: {{receivers: [{{name: a, kind: slack, {place}}}]}}"
    with pytest.raises(ConfigError) as refused:
        parse_stack(LOCAL.replace("config:\n", f"config:\n  {declared}\n"), "x")
    assert "write urlFrom: {env: VARIABLE}" in str(refused.value)
    assert "T0KEN" not in str(refused.value)
