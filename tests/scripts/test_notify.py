# pyright: basic
"""Commands tell receivers of what they wrote, and only of that."""

from __future__ import annotations

import json

import pytest

from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import Harmful
from tests.rollout.test_notify import Server, server
from tests.scripts.test_check import Young, project, run

__all__ = ["project", "server"]
DECLARED = (
    "config:\n  modelramp:notifications: {receivers: [{name: ops, kind: webhook, "
    "urlFrom: {env: HOOK}, holdAfter: 30m}]}\n"
)


@pytest.fixture
def told(project, server: Server, monkeypatch):
    """Runs a command; returns what the receiver got by it."""
    file = project / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("config:\n", DECLARED))
    monkeypatch.setenv("GITHUB_ACTOR", "ann")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def telling(metrics: Recorded, *arguments: str) -> list[tuple[str, int, int, str]]:
        server.bodies.clear()
        assert run(monkeypatch, metrics, *arguments, "--stack", "local") == 0
        return [(it["event"], it["from"], it["to"], it["by"]) for it in server.bodies]

    return telling


def test_drift_check_tells_of_its_moves_but_not_of_a_dry_run(told):
    assert told(Recorded(), "check", "--dry-run") == []
    assert told(Recorded(), "check") == [("move", 5, 25, "drift-check")]


def test_drift_check_tells_of_a_revert(told, server):
    assert told(Harmful(), "check") == [("revert", 5, 0, "drift-check")]
    assert server.bodies[0]["metrics"]


def test_a_long_hold_is_told_once_and_remembered_in_the_project(told, project):
    assert told(Young(), "check") == [("hold", 5, 5, "drift-check")]
    assert told(Young(), "check") == []
    (step,) = json.loads((project / ".modelramp/notified/local.json").read_text()).values()
    assert step.endswith("+00:00")


def test_a_persons_move_is_told_and_a_pause_is_not(told):
    assert told(Recorded(), "promote", "fraud") == [("move", 5, 25, "ann")]
    assert told(Recorded(), "pause", "fraud") == []


def test_a_receiver_that_fails_fails_no_command_and_no_move(told, server, capsys, project):
    server.answers = [500, 500]
    assert told(Recorded(), "promote", "fraud") != []
    error = capsys.readouterr().err
    assert "warning ops was not told of fraud: it answered 500" in error
    assert "T0KEN" not in error
    assert "percent: 25" in (project / "Pulumi.local.yaml").read_text()
