# pyright: basic
"""What a person decides, on a stack file: the edit, its log line, what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.stack import load_stack
from rollout import history
from scripts.main import app
from tests.stacks import LOCAL, OTHER


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: x\nstackConfigDir: stacks\n")
    path = tmp_path / "stacks" / "Pulumi.local.yaml"
    path.parent.mkdir()
    path.write_text(LOCAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GITHUB_ACTOR", "ann")
    return path


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["modelramp", *arguments])
    with pytest.raises(SystemExit) as ended:
        app()
    return int(ended.value.code or 0)


def on(command: str, *arguments: str) -> tuple[str, ...]:
    return command, "fraud", *arguments, "--stack", "local"


def rollout(file: Path):
    found = load_stack(file).services["fraud"].rollout
    assert found
    return found


def log(file: Path) -> list[dict]:
    return history.lines(history.history_path(file, "local", "fraud"))


def test_promote_shows_the_edit_its_lines_and_what_is_next(file, monkeypatch, capsys):
    assert run(monkeypatch, *on("promote", "--why", "seen [enough]")) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "fraud 1.5.0: 5% to 25%, seen [enough]"
    added = [line for line in shown if line.startswith("+ ")]
    assert len(added) == 1
    assert "{percent: 25, at: " in added[0]
    assert "--- stacks/Pulumi.local.yaml" in shown
    assert shown[-1] == "review and commit it, then: pulumi up --stack local"
    assert rollout(file).percent == 25
    (line,) = log(file)
    assert (line["by"], line["verdict"], line["from"], line["to"]) == ("ann", "advance", 5, 25)
    assert line["reason"] == "seen [enough]"


def test_up_to_stable_and_json_says_it_all(file, monkeypatch, capsys):
    assert run(monkeypatch, *on("promote", "--full")) == 0
    capsys.readouterr()
    assert run(monkeypatch, *on("promote", "--json")) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["edit"] == {"kind": "Promote", "why": "a person promoted it"}
    assert (done["service"], done["by"], done["file"]) == (
        "fraud",
        "ann",
        "stacks/Pulumi.local.yaml",
    )
    assert '-        candidate: "1.5.0"   # on trial' in done["diff"]
    assert (rollout(file).stable, rollout(file).candidate) == ("1.5.0", None)


def test_a_pause_keeps_it_until_resume_or_force(file, monkeypatch, capsys):
    assert run(monkeypatch, *on("pause", "--why", "lunch")) == 0
    assert capsys.readouterr().out.endswith("review and commit it\n")
    held = file.read_text()
    assert run(monkeypatch, *on("promote")) == 1
    assert "paused: lunch; --force" in capsys.readouterr().err.replace("\n", " ")
    assert file.read_text() == held
    assert run(monkeypatch, *on("resume")) == 0
    assert file.read_text() == LOCAL
    assert "drift-check --stack local --service fraud" in capsys.readouterr().out
    assert [line["verdict"] for line in log(file)] == ["pause", "resume"]


def test_an_approval_is_a_persons(file, monkeypatch, capsys):
    asks = LOCAL.replace("5, 25,", "5, {percent: 25, approve: true},")
    file.write_text(asks)
    monkeypatch.setenv("GITHUB_ACTOR", "renovate[bot]")
    assert run(monkeypatch, *on("approve")) == 1
    assert "renovate[bot] is a bot" in capsys.readouterr().err
    assert file.read_text() == asks
    monkeypatch.setenv("GITHUB_ACTOR", "ann")
    assert run(monkeypatch, *on("approve", "25")) == 0
    (approval,) = rollout(file).approvals
    assert (approval.percent, approval.by) == (25, "ann")
    assert run(monkeypatch, *on("promote")) == 0


def test_what_was_taken_back_is_tried_again(file, monkeypatch, capsys):
    back = f'rejected: [{{digest: "{OTHER}", at: "2026-11-23T09:30:00Z", why: x}}]'
    text = LOCAL.replace("percent: 5,", "percent: 0,")
    file.write_text(text.replace("    churn:", f"        {back}\n    churn:"))
    assert run(monkeypatch, *on("promote")) == 1
    assert "modelramp retry fraud" in capsys.readouterr().err
    assert run(monkeypatch, *on("retry", "1.5.0")) == 0
    assert capsys.readouterr().out.startswith("fraud 1.5.0: 0% to 1%, ")
    assert [move.percent for move in rollout(file).moves] == [1]
    assert rollout(file).rejected == ()


def test_an_unknown_service_or_stack_is_said(file, monkeypatch, capsys):
    assert run(monkeypatch, "pause", "frud", "--stack", "local") == 1
    assert "there are: fraud, churn" in capsys.readouterr().err
    assert run(monkeypatch, "retry", "fraud", "--stack", "nope") == 1
    assert "no such stack file" in capsys.readouterr().err
