# pyright: basic
"""The command line: exit codes, JSON, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import rollout.prometheus
from scripts.check import drift_check
from scripts.main import app
from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import Broken, Harmful
from tests.stacks import LOCAL


class Young(Recorded):
    """Has too little to say: the declared percentage changed just now."""

    def samples(self, query, start, end, step_seconds):
        series = super().samples(query, start, end, step_seconds)
        if query.startswith("modelramp:declared_percent"):
            for row in series.values():
                row[:-4] = 1.0
        return series


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose rollout began two hours ago."""
    began = datetime.now(UTC) - timedelta(hours=2)
    text = LOCAL.replace("2026-11-23T08:00:00Z", began.isoformat(timespec="seconds")).replace(
        "2026-11-23T09:00:00Z", (began + timedelta(hours=1)).isoformat(timespec="seconds")
    )
    (tmp_path / "Pulumi.yaml").write_text("name: x\n")
    (tmp_path / "Pulumi.local.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, metrics, *arguments: str, command=app) -> int:
    monkeypatch.setattr(rollout.prometheus, "Prometheus", lambda *_: metrics)
    monkeypatch.setattr("sys.argv", ["modelramp", *arguments])
    with pytest.raises(SystemExit) as ended:
        command()
    return int(ended.value.code or 0)


CHECK = ("check", "--stack", "local", "--detailed-exitcode")


@pytest.mark.parametrize(
    ("metrics", "code"), [(Recorded(), 10), (Young(), 11), (Broken(), 12), (Harmful(), 13)]
)
def test_each_outcome_has_its_exit_code(project, monkeypatch, metrics, code):
    assert run(monkeypatch, metrics, *CHECK) == code


def test_no_rollout_and_no_wish_for_detail_exit_with_0(project, monkeypatch):
    assert run(monkeypatch, Recorded(), *CHECK, "--service", "churn") == 0
    assert run(monkeypatch, Harmful(), *CHECK[:3], "--dry-run") == 0


def test_json_says_what_the_table_says(project, monkeypatch, capsys):
    run(monkeypatch, Harmful(), *CHECK, "--json")
    fraud, churn = json.loads(capsys.readouterr().out)
    assert (fraud["verdict"], fraud["from"], fraud["to"]) == ("revert", 5, 0)
    assert fraud["edit"] == {
        "kind": "AddMove",
        "percent": 0,
        "why": fraud["reason"],
        "reject": True,
    }
    assert fraud["metrics"][0]["eValue"] > 1 / fraud["metrics"][0]["alpha"]
    assert churn["verdict"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "--stack", "nope"), "no such stack file"),
        (("check", "--stack", "local", "--service", "frud"), "there are: fraud, churn"),
        (("check",), "Missing option '--stack'"),
        (("chekc",), "No such command"),
    ],
)
def test_errors_of_use_exit_with_1(project, monkeypatch, capsys, arguments, says):
    assert run(monkeypatch, Recorded(), *arguments) == 1
    assert says in capsys.readouterr().err


def test_an_internal_error_exits_with_2(project, monkeypatch):
    class Buggy(Recorded):
        def samples(self, query, start, end, step_seconds):
            raise ZeroDivisionError

    assert run(monkeypatch, Buggy(), *CHECK) == 2


def test_drift_check_is_check(project, monkeypatch):
    assert run(monkeypatch, Recorded(), *CHECK[1:], command=drift_check) == 10
