# pyright: basic
"""`modelramp record` and `kubeconfig`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.errors import ConfigError, ToolError
from rollout import history
from scripts.main import _app
from tests.rollout.test_git import git, tree  # noqa: F401
from tests.scripts.test_stacks import commit, project  # noqa: F401

STACKS = Path(__file__).parents[2] / "stacks"


def run(*arguments: str):
    return CliRunner().invoke(_app, arguments)


def test_moves_by_hand_are_logged_once_with_their_author(project: Path):  # noqa: F811
    log = project / "stacks/history/prod/fraud.jsonl"
    done = run("record", "--stack", "prod", "--commit", "--push")
    assert done.exit_code == 0, done.output
    lines = history.lines(log)
    assert [(it["from"], it["to"], it["verdict"]) for it in lines] == [
        (0, 1, "by hand"),
        (1, 5, "by hand"),
    ]
    assert lines[1]["reason"] == "no harm in 41,200 requests"
    assert lines[1]["commit"] == git(project, "rev-parse", "HEAD^")
    assert lines[1]["by"] == git(project, "log", "-1", "--format=%ae", "HEAD^")
    changed = git(project, "show", "--name-only", "--format=", "HEAD")
    assert changed == "stacks/history/prod/fraud.jsonl"
    assert git(project, "ls-remote", "origin", "main").split()[0] == git(
        project, "rev-parse", "HEAD"
    )
    assert "every move is logged" in run("record", "--stack", "prod", "--commit").output
    assert history.lines(log) == lines


def test_only_what_is_missing_is_added(project: Path):  # noqa: F811
    run("record", "--stack", "prod")
    log = project / "stacks/history/prod/fraud.jsonl"
    first, _ = log.read_text().splitlines(keepends=True)
    log.write_text(first)
    assert "5%" in run("record", "--stack", "prod").output
    assert [it["to"] for it in history.lines(log)] == [1, 5]


def test_a_kubeconfig_is_that_of_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    aws = tmp_path / "aws"
    aws.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\nexit $(cat {tmp_path}/code)\n')
    aws.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.chdir(STACKS.parent)
    (tmp_path / "code").write_text("0")
    assert run("kubeconfig", "--stack", "prod").exit_code == 0
    said = (tmp_path / "said").read_text().split()
    assert said == [
        *("eks", "update-kubeconfig", "--name", "models-prod"),
        *("--region", "eu-central-1", "--alias", "models-prod"),
    ]
    (tmp_path / "code").write_text("3")
    assert isinstance(run("kubeconfig", "--stack", "prod").exception, ToolError)
    assert isinstance(run("kubeconfig", "--stack", "local").exception, ConfigError)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert "no aws on PATH" in str(run("kubeconfig", "--stack", "prod").exception)
