# pyright: basic
"""`modelramp stacks` and `validate --merged`, with the real git."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rollout.git import Repository
from scripts.main import _app
from tests.rollout.test_git import git, tree  # noqa: F401
from tests.stacks import LOCAL


@pytest.fixture
def project(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    (tree / "stacks").mkdir()
    (tree / "Pulumi.yaml").write_text("name: x\nruntime: python\nstackConfigDir: stacks\n")
    for name in ("local", "prod"):
        (tree / f"stacks/Pulumi.{name}.yaml").write_text(LOCAL)
    commit(tree, "two stacks")
    git(tree, "push", "-q")
    monkeypatch.chdir(tree)
    return tree


def commit(folder: Path, message: str) -> None:
    git(folder, "add", ".")
    Repository(folder).commit([folder], message)


def run(*arguments: str):
    return CliRunner().invoke(_app, arguments)


def test_stacks_that_a_branch_touches_whatever_was_merged_meanwhile(project: Path):
    assert run("stacks").stdout.split() == ["local", "prod"]
    git(project, "checkout", "-q", "-b", "mine")
    (project / "stacks/Pulumi.prod.yaml").write_text(LOCAL + "# mine\n")
    commit(project, "mine")
    git(project, "checkout", "-q", "main")
    (project / "stacks/Pulumi.local.yaml").write_text(LOCAL + "# theirs\n")
    commit(project, "theirs")
    git(project, "checkout", "-q", "mine")
    told = run("stacks", "--changed-since", "main", "--json")
    assert json.loads(told.stdout) == ["prod"]
    only = run("stacks", "--changed-since", "main", "--stack", "local", "--json")
    assert json.loads(only.stdout) == []


def test_a_project_below_the_root_of_a_repository(tmp_path: Path, monkeypatch):
    below = tmp_path / "deep" / "project"
    (below / "stacks").mkdir(parents=True)
    (below / "Pulumi.yaml").write_text("name: x\nruntime: python\nstackConfigDir: stacks\n")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "empty")
    (below / "stacks/Pulumi.prod.yaml").write_text(LOCAL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/other.py").write_text("not of this project\n")
    commit(tmp_path, "a stack")
    monkeypatch.chdir(below)
    assert json.loads(run("stacks", "--changed-since", "HEAD^", "--json").stdout) == ["prod"]
    (tmp_path / "models/other.py").write_text("changed\n")
    commit(tmp_path, "elsewhere")
    assert json.loads(run("stacks", "--changed-since", "HEAD^", "--json").stdout) == []


def test_no_such_stack_and_no_such_commit_are_said(project: Path):
    assert "there are: ['local', 'prod']" in run("stacks", "--stack", "dev").output
    assert run("stacks", "--changed-since", "nowhere").exit_code


def test_a_file_that_lacks_what_is_merged_is_refused(project: Path):
    file = project / "stacks/Pulumi.prod.yaml"
    assert run("validate", "--stack", "prod", "--merged").exit_code == 0
    last = next(line for line in LOCAL.splitlines() if "percent: 5," in line)
    file.write_text(LOCAL.replace(f"{last}\n", ""))
    assert run("validate", "--stack", "prod").exit_code == 0
    refused = run("validate", "--stack", "prod", "--merged")
    assert refused.exit_code == 1
    assert "moves of 1.5.0 are missing" in refused.output
