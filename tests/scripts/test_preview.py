# pyright: basic
"""`modelramp preview-comment` and `preview-gate` as they are typed, on a local forge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.errors import ConfigError
from review.comment import marker
from scripts import preview_comment
from scripts.main import _app as app
from tests.review.previews import RECORDED, digest, step
from tests.rollout.forge_server import Server, environment, server
from tests.stacks import LOCAL

__all__ = ["server"]


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("GITHUB_EVENT_PATH", "GITHUB_REF", "GITHUB_SHA", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"),
        *("GITHUB_STEP_SUMMARY", "GITHUB_TOKEN", "CI_MERGE_REQUEST_IID"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def forge(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    stack = tmp_path / "Pulumi.local.yaml"
    stack.write_text(LOCAL)
    monkeypatch.setattr(preview_comment, "stack_path", lambda root, name: stack)
    monkeypatch.setattr(preview_comment.Repository, "run", lambda *arguments: "x")
    return server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def comment(name: str, *more: str) -> Result:
    file = str(RECORDED / f"{name}.json")
    return run("preview-comment", "--stack", "local", "--preview", file, *more)


def gate(name: str, *more: str) -> Result:
    return run("preview-gate", "--preview", str(RECORDED / f"{name}.json"), *more)


def test_a_comment_is_posted_and_changed(forge: Server):
    assert "comment on 7: made" in comment("update", "--pull-request", "7").stdout
    assert "comment on 7: changed" in comment("revert", "--pull-request", "7").stdout
    (text,) = forge.comments
    assert text.startswith(f"{marker('local')}\n### `local`: 3 to update")
    assert "candidate 1.5.0 taken back, from 5% to 0%" in text


def test_ci_tells_the_number(forge: Server, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="--pull-request: is needed"):
        comment("update")
    monkeypatch.setenv("GITHUB_REF", "refs/pull/9/merge")
    assert "comment on 9: made" in comment("update").stdout


def test_print_posts_nothing(forge: Server):
    events = str(RECORDED / "mandatory.events.jsonl")
    done = comment("mandatory", "--print", "--events", events)
    assert done.exit_code == 0
    assert "**mandatory, high**" in done.stdout
    # What to do is told by docs/policies.md.
    assert "Begin the strategy's steps with 5 percent or less" in done.stdout
    assert (forge.comments, forge.writes) == ([], [])


def test_a_fork_s_pull_request_falls_back_to_the_summary(
    forge: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    forge.statuses = [200, 403]
    done = comment("update", "--pull-request", "7")
    assert done.exit_code == 0
    assert "no comment, only the summary" in done.stdout
    assert summary.read_text().startswith(f"before\n{marker('local')}")
    assert "from 5% to 25%" in summary.read_text()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    forge.statuses = [403]
    assert "from 5% to 25%" in comment("update", "--pull-request", "7").stdout


def test_what_has_no_room_is_in_the_summary(
    forge: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    comment("update", "--pull-request", "7")
    assert not summary.exists()
    big = tmp_path / "big.json"
    kind = "kubernetes:core/v1:ConfigMap"
    steps = [step("create", kind, f"{it}-{'x' * 50}", None, {}) for it in range(1000)]
    big.write_text(json.dumps(digest(*steps)))
    run("preview-comment", "--stack", "local", "--preview", str(big), "--pull-request", "7")
    assert len(forge.comments[0].encode()) <= 65_536
    assert "in the summary of the run" in forge.comments[0]
    assert summary.read_text().count("| create |") == 1000


def test_a_wrong_stack_file_is_no_reason_to_be_silent(forge: Server, tmp_path: Path):
    (tmp_path / "Pulumi.local.yaml").write_text(LOCAL.replace("risk: high", "risk: enormous"))
    done = comment("failure", "--print")
    assert "GPUs and cost are unknown: " in done.stdout
    assert "**The preview failed.**" in done.stdout
    (tmp_path / "Pulumi.local.yaml").unlink()
    assert "there is no stack file Pulumi.local.yaml" in comment("update", "--print").stdout


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("update", 0), ("revert", 0), ("dropped", 0), ("previous-leaves", 0), ("same", 0)),
        *(("delete", 1), ("replace", 1), ("previous-early", 1), ("failure", 1), ("mandatory", 1)),
    ],
)
def test_the_gate_s_exit_code(name: str, code: int):
    assert gate(name).exit_code == code


def test_the_gate_takes_reasons_and_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert gate("delete", "--allow", "fraud-*=retired").exit_code == 1
    both = ("--allow", "fraud-*=retired", "--allow", "mlflow-runtime=nobody needs it")
    done = gate("delete", *both, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["passes"] is True
    assert {it["verdict"] for it in told["findings"]} == {"allowed"}
    event = tmp_path / "event.json"
    event.write_text(
        json.dumps({"pull_request": {"number": 3, "labels": [{"name": "allow-deletes"}]}})
    )
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    assert gate("delete").exit_code == 0
    assert "label allow-deletes of pull request 3" in " ".join(gate("delete").stdout.split())
    assert gate("delete", "--allow-label", "other").exit_code == 1


def test_the_gate_refuses_a_preview_that_failed():
    done = gate("mandatory", "--json")
    assert json.loads(done.stdout) == {"passes": False, "failed": True, "findings": []}
    assert "the preview failed: preview failed" in done.stderr
