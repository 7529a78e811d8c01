# pyright: basic
"""The deployment log, as people and machines read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import scripts.history
from rollout import history
from tests.rollout.test_collect import Recorded
from tests.rollout.test_model_card import HOSTILE, texts, tokens
from tests.scripts.test_by_hand import file
from tests.scripts.test_check import run

__all__ = ["file"]
LINE = {
    "at": "2026-11-23T09:00:00+01:00",
    "service": "fraud",
    "stable": "1.4.0",
    "candidate": "1.5.0",
    "from": 1,
    "to": 5,
    "by": "ann@example.com",
    "verdict": "advance",
    "reason": "no harm [yet]",
    "metrics": [{"name": "errorRate"}],
}
CELLS = ["2026-11-23 08:00", "advance", "1.5.0", "1 to 5", "ann@example.com", "no harm [yet]"]
HEADS = ["time (UTC)", "move", "version", "percent", "by", "why"]


@pytest.fixture
def printed(file: Path, monkeypatch, capsys):
    """Writes a log; returns what is printed of it."""

    def printing(log: list[dict], *arguments: str, service: str = "fraud", code: int = 0) -> str:
        for line in log:
            history.append(history.history_path(file, "local", service), line)
        monkeypatch.setattr(scripts.history, "CONSOLE", Console(width=100))
        options = ("--service", service, "--stack", "local", *arguments)
        assert run(monkeypatch, Recorded(), "history", *options) == code
        out, err = capsys.readouterr()
        return out + err

    return printing


def test_a_row_a_move_oldest_first(printed):
    first = {**LINE, "candidate": None, "verdict": "start", "from": 0, "to": 100}
    heads, *rows = [line.split("  ") for line in printed([first, LINE]).splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in (heads, *rows)]
    assert cells[0] == HEADS
    assert cells[1][1:4] == ["start", "1.4.0", "0 to 100"]
    assert cells[2] == CELLS


def test_json_is_the_log_with_its_evidence(printed):
    assert json.loads(printed([LINE], "--format", "json")) == [LINE]


def test_markdown_shows_the_same_in_a_table(printed):
    page = printed([LINE, LINE], "--format", "markdown")
    assert texts(page) == ["Deployment log of fraud on local", *HEADS, *CELLS, *CELLS]


def test_what_people_wrote_is_text_in_markdown_too(printed):
    hostile = {**LINE, "by": HOSTILE, "reason": f"{HOSTILE}\n| x |\n"}
    page = printed([hostile], "--format", "markdown")
    kinds = [it.type for it in tokens(page)]
    assert not [it for it in kinds if it.startswith(("html", "link"))]
    assert (kinds.count("heading_open"), kinds.count("tr_open")) == (1, 2)
    assert texts(page)[-2:] == [" ".join(HOSTILE.split()), " ".join(hostile["reason"].split())]


def test_what_a_terminal_would_obey_is_not_printed(printed):
    shown = printed([{**LINE, "reason": "a\x1b[2Jb\x07c"}])
    assert "\x1b" not in shown
    assert "a [2Jb c" in shown


def test_nothing_logged_and_nothing_declared_are_not_the_same(printed):
    assert printed([], service="churn") == "nothing is logged yet\n"
    assert "Nothing is logged yet." in printed([], "--format", "markdown", service="churn")
    assert "there are: fraud, churn" in printed([], service="frud", code=1)


def test_a_service_that_is_declared_no_more_keeps_its_log(printed):
    assert "no harm [yet]" in printed([LINE], service="gone")


def test_a_broken_line_is_said(printed, file):
    path = history.history_path(file, "local", "fraud")
    path.parent.mkdir(parents=True)
    path.write_text('{"at": ')
    assert "a line is no JSON" in printed([], code=1)
