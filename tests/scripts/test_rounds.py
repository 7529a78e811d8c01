# pyright: basic
"""What follows a round of drift-check: commits, `pulumi up`, the next round."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import rollout.prometheus
import scripts.rounds
from models.errors import RuntimeTargetError
from models.stack import load_stack, parse_stack
from scripts.main import app
from scripts.rounds import lacking
from tests.rollout.forge_server import Server, environment, server  # noqa: F401
from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import Broken
from tests.rollout.test_git import git, tree  # noqa: F401
from tests.stacks import LOCAL


class Pulumi:
    """Stands where the CLI would: what it does is tested with the real one, on the targets."""

    def __init__(self) -> None:
        self.ups = 0
        self.fails = 0

    def up(self) -> None:
        self.ups += 1
        if self.ups <= self.fails:
            raise RuntimeTargetError("no power")


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    made = Pulumi()
    monkeypatch.setattr(scripts.rounds.Pulumi, "of_user", lambda *_: made)
    return made


@pytest.fixture
def file(tree: Path, monkeypatch: pytest.MonkeyPatch, pulumi: Pulumi) -> Path:  # noqa: F811
    """A committed and pushed stack file whose rollout began two hours ago."""
    began = datetime.now(UTC) - timedelta(hours=2)
    text = LOCAL.replace("2026-11-23T08:00:00Z", began.isoformat(timespec="seconds")).replace(
        "2026-11-23T09:00:00Z", (began + timedelta(hours=1)).isoformat(timespec="seconds")
    )
    (tree / "Pulumi.yaml").write_text("name: x\n")
    (tree / ".gitignore").write_text(".*.lock\n.modelramp/\n")
    path = tree / "Pulumi.local.yaml"
    path.write_text(text)
    git(tree, "add", ".")
    git(tree, "-c", "user.email=a@b", "-c", "user.name=a", "commit", "-q", "-m", "stack")
    git(tree, "push", "-q")
    monkeypatch.chdir(tree)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return path


def run(monkeypatch, metrics, *arguments: str) -> int:
    monkeypatch.setattr(rollout.prometheus, "Prometheus", lambda *_: metrics)
    monkeypatch.setattr("sys.argv", ["modelramp", "check", "--stack", "local", *arguments])
    with pytest.raises(SystemExit) as ended:
        app()
    return int(ended.value.code or 0)


def percent(file: Path) -> int:
    found = load_stack(file).services["fraud"].rollout
    assert found
    return found.percent


def test_an_edit_and_its_line_in_the_log_are_one_commit(file: Path, monkeypatch, pulumi: Pulumi):
    assert run(monkeypatch, Recorded(), "--commit") == 0
    assert git(file.parent, "status", "--porcelain") == ""
    assert git(file.parent, "show", "--name-only", "--format=").split() == [
        "Pulumi.local.yaml",
        "history/local/fraud.jsonl",
    ]
    subject, _, body = git(file.parent, "log", "-1", "--format=%B").partition("\n")
    assert subject == "fraud: candidate 1.5.0 from 5% to 25%"
    assert "errorRate" in body
    assert pulumi.ups == 0


def test_a_request_has_the_move_and_the_page_its_plots(
    file: Path,
    monkeypatch,
    capsys,
    server: Server,  # noqa: F811
):
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    before, page = file.read_text(), file.parent / ".modelramp" / "plots.html"
    options = ("--plots", str(page), "--evidence-url", "https://ci.example/plots")
    assert run(monkeypatch, Recorded(), "--pull-request", *options) == 0
    (request,) = server.open
    assert request["title"] == "local: fraud: candidate 1.5.0 from 5% to 25%"
    assert "https://ci.example/plots" in request["body"]
    assert f"fraud: opened {request['html_url']}" in capsys.readouterr().err
    assert "<svg" in page.read_text()
    assert file.read_text() == before
    assert git(file.parent, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--pull-request", "--dry-run"),
        ("--pull-request", "--commit"),
        ("--pull-request", "--up"),
        ("--push-reverts",),
        ("--base", "main"),
        ("--evidence-url", "https://ci.example"),
        ("--commit", "--dry-run"),
    ],
)
def test_options_that_do_not_go_together_are_refused(file: Path, monkeypatch, options):
    before = file.read_text()
    assert run(monkeypatch, Recorded(), *options) == 1
    assert file.read_text() == before


def test_a_hold_commits_nothing(file: Path, monkeypatch):
    before = git(file.parent, "rev-parse", "HEAD")
    assert run(monkeypatch, Broken(), "--commit") == 0
    assert git(file.parent, "rev-parse", "HEAD") == before


def test_a_persons_open_edit_of_the_file_is_refused_before_anything(
    file: Path, monkeypatch, capsys
):
    text = file.read_text() + "# mine\n"
    file.write_text(text)
    assert run(monkeypatch, Recorded(), "--commit") == 1
    assert "commit these first" in capsys.readouterr().err
    assert file.read_text() == text


def test_outside_of_git_nothing_is_edited(file: Path, monkeypatch, capsys):
    (file.parent / ".git").rename(file.parent / "gone")
    text = file.read_text()
    assert run(monkeypatch, Recorded(), "--commit") == 1
    assert "not a git repository" in capsys.readouterr().err
    assert file.read_text() == text


def test_up_runs_after_an_edit_only(file: Path, monkeypatch, pulumi: Pulumi):
    assert run(monkeypatch, Broken(), "--up") == 0
    assert pulumi.ups == 0
    assert run(monkeypatch, Recorded(), "--up") == 0
    assert (pulumi.ups, percent(file)) == (1, 25)


def test_up_that_fails_is_told_and_exits_with_1(file: Path, monkeypatch, pulumi: Pulumi, capsys):
    pulumi.fails = 1
    assert run(monkeypatch, Recorded(), "--up") == 1
    shown = capsys.readouterr()
    assert "no power" in shown.err
    assert "advance" in shown.out


def test_up_refuses_a_file_that_lacks_what_is_merged(file: Path, monkeypatch, pulumi, capsys):
    old = file.read_text()
    assert run(monkeypatch, Recorded(), "--commit") == 0
    git(file.parent, "push", "-q")
    git(file.parent, "checkout", "-q", "HEAD~1")
    assert run(monkeypatch, Recorded(), "--up") == 1
    assert "does not go on from origin/main" in capsys.readouterr().err
    assert (file.read_text(), pulumi.ups) == (old, 0)


def test_up_goes_on_with_a_warning_where_there_is_no_remote(
    file: Path, monkeypatch, pulumi: Pulumi, capsys
):
    git(file.parent, "remote", "remove", "origin")
    assert run(monkeypatch, Recorded(), "--up") == 0
    assert "is not compared with what is merged" in capsys.readouterr().err
    assert pulumi.ups == 1


def test_a_rollout_that_is_missing_is_lacking():
    merged = parse_stack(LOCAL, "x")
    head, _, tail = LOCAL.partition("      rollout:\n")
    here = parse_stack(head + tail[tail.index("    churn:") :], "x")
    assert lacking(merged, here) == ["fraud: its rollout is missing"]
    assert lacking(here, merged) == lacking(merged, merged) == []


@pytest.mark.parametrize("options", [("--commit",), ("--up",)])
def test_a_dry_run_has_nothing_to_record(file: Path, monkeypatch, capsys, options):
    assert run(monkeypatch, Recorded(), "--dry-run", *options) == 1
    assert "--dry-run" in capsys.readouterr().err


@pytest.fixture
def handlers():
    before = {it: signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_watch_goes_on_after_errors_until_it_is_told_to_end(
    file: Path, monkeypatch, pulumi: Pulumi, capsys, handlers
):
    pulumi.fails = 1
    monkeypatch.setattr(scripts.rounds.threading.Event, "wait", lambda self, seconds: waits.pop()())
    waits = [lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: None, lambda: None]
    assert run(monkeypatch, Recorded(), "--watch", "1", "--json", "--up") == 0
    first, error, second, third = (
        json.loads(line) for line in capsys.readouterr().out.splitlines()
    )
    assert first["outcomes"][0]["to"] == 25
    assert "no power" in error["error"]
    # The second round had nothing to edit, but the `up` that failed was due.
    assert second["outcomes"][0]["edit"] is None
    assert pulumi.ups == 2
    assert third["outcomes"][0]["edit"] is None


def test_a_stack_file_that_is_broken_for_a_moment_ends_no_watch(
    file: Path, monkeypatch, capsys, handlers
):
    text = file.read_text()
    waits = [lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: file.write_text(text)]
    monkeypatch.setattr(scripts.rounds.threading.Event, "wait", lambda self, seconds: waits.pop()())
    file.write_text("config: [")
    assert run(monkeypatch, Recorded(), "--watch", "1") == 0
    shown = capsys.readouterr()
    assert "not valid YAML" in shown.err
    assert "5% to 25%" in shown.out
