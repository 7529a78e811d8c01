# pyright: basic
"""What `modelramp status` shows of a stack file and of what the versions did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import scripts.status
from scripts.status import BAR_CELLS, bar
from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import Broken, Harmful
from tests.scripts.test_check import project, run

__all__ = ["project"]
STATUS = ("status", "--stack", "local")


@pytest.fixture
def text(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command on a terminal of 100 columns; the stack file is not touched by that."""
    console = Console(width=100)
    monkeypatch.setattr(scripts.status, "CONSOLE", console)

    def shown(metrics: Recorded, *arguments: str, code: int = 0) -> str:
        file = project / "Pulumi.local.yaml"
        before = file.read_text()
        assert run(monkeypatch, metrics, *STATUS, *arguments) == code
        assert file.read_text() == before
        assert not (project / "history").exists()
        out, err = capsys.readouterr()
        return out + err

    return shown


def test_a_rollout_is_shown_whole_and_a_service_at_rest_in_one_line(text):
    shown = text(Recorded())
    first, *others = shown.splitlines()
    assert first.rstrip() == "fraud  1.4.0 95% ███████████████████▒ 5% 1.5.0"
    assert "canary   step 2 of 4, 5% for 60 min" in shown
    assert "verdict  advance: " in shown
    assert "drift-check: 5% to 25%" in shown
    assert "errorRate" in shown
    assert [line.split() for line in others if "churn" in line] == [
        ["churn", "no", "version", "yet"]
    ]


def test_harm_is_shown_before_anything_is_done_about_it(text):
    assert "drift-check: 5% to 0%" in text(Harmful())


def test_without_prometheus_the_rest_is_shown_and_it_says_so(text):
    shown = text(Broken())
    assert "no-data: Prometheus is on holiday" in shown
    assert "step 2 of 4" in shown


def test_what_people_write_is_text_never_markup(text, project):
    file = project / "Pulumi.local.yaml"
    paused = '        paused: "[red]lunch[/red] [/]"\n        moves:'
    file.write_text(file.read_text().replace("        moves:", paused))
    assert "waits for  paused: [red]lunch[/red] [/]" in text(Recorded())


def test_one_service_as_json(text):
    (fraud,) = json.loads(text(Recorded(), "--service", "fraud", "--json"))
    assert (fraud["step"], fraud["steps"], fraud["wouldMoveTo"]) == (2, 4, 25)


def test_watch_redraws_until_interrupted_also_while_the_file_is_wrong(text, project, monkeypatch):
    file = project / "Pulumi.local.yaml"
    whole = file.read_text()
    rounds = iter([lambda: file.write_text("config: ["), lambda: file.write_text(whole)])

    def sleep(seconds: float) -> None:
        assert seconds == 2
        try:
            next(rounds)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(scripts.status.time, "sleep", sleep)
    monkeypatch.setattr(scripts.status, "CONSOLE", Console(width=100, force_terminal=True))
    shown = text(Recorded(), "--watch", "2")
    assert shown.count("step 2 of 4") >= 2  # Live draws the last one again as it ends
    assert shown.count("not valid YAML") == 1


def test_watch_is_for_people_and_json_for_machines(text):
    assert "give one of them" in text(Recorded(), "--watch", "2", "--json", code=1)


@pytest.mark.parametrize(("percent", "cells"), [(0, 0), (1, 1), (50, 10), (99, 19), (100, 20)])
def test_any_traffic_at_all_can_be_seen_without_colours(percent: int, cells: int):
    drawn = bar(percent).plain
    assert (drawn.count("▒"), len(drawn)) == (cells, BAR_CELLS)
