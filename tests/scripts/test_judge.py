# pyright: basic
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts import main

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples/judge/canary.json")


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["modelramp", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.app()
    return int(ended.value.code or 0)


def test_the_judge_answers_in_words_and_in_json(monkeypatch, capsys):
    assert run(monkeypatch, "judge", "--case", EXAMPLE) == 0
    assert "candidate fails 4.61% of requests" in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, "judge", "--case", EXAMPLE, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "revert"
    assert answer["metrics"][0]["harmful"] is True


def test_a_wrong_case_exits_1_with_every_problem(monkeypatch, capsys, tmp_path):
    path = tmp_path / "case.json"
    raw = json.loads(Path(EXAMPLE).read_text())
    raw["rollout"]["alpha"] = 7
    raw["stable"]["errors"] = "none"
    path.write_text(json.dumps(raw))
    assert run(monkeypatch, "judge", "--case", str(path)) == 1
    told = capsys.readouterr().err
    assert "rollout.alpha" in told
    assert "stable.errors" in told
    assert run(monkeypatch, "judge") == 1


def test_the_schema_is_printed(monkeypatch, capsys):
    assert run(monkeypatch, "judge", "--schema") == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["rollout", "stable", "candidate"]


def test_a_backtest_shows_when_and_the_rules_of_others(monkeypatch, capsys):
    assert run(monkeypatch, "backtest", "--case", EXAMPLE, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [look["verdict"] for look in answer["looks"]][-1] == "revert"
    assert len(answer["peers"]) == 3
    assert run(monkeypatch, "backtest", "--case", EXAMPLE) == 0
    assert "Flagger" in capsys.readouterr().out
    assert run(monkeypatch, "backtest") == 1
