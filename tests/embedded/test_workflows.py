# pyright: basic
"""From a click to traffic, by the steps of the workflows: deploy, preview, merge, up, drift-check.

Git is real, with a remote of its own; so are the engine, MLflow, Prometheus and the gateway. Only
GitHub is a server here that speaks its API.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.embedded import control
from local.tools import ensure
from models.stack import load_stack
from rollout import history
from tests.actions import FOLDER, Job, machine
from tests.project import REPOSITORY, Project
from tests.rollout.forge_server import Server, environment, server  # noqa: F401
from tests.rollout.test_git import git

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(900)]


class Team:
    """A project in git, a remote, and a runner."""

    def __init__(self, project: Project, server: Server) -> None:  # noqa: F811
        self.project, self.server, self.root = project, server, project.root
        (self.root / "policies" / ".venv").symlink_to(REPOSITORY / "policies" / ".venv")
        git(self.root, "init", "-q", "-b", "main")
        git(self.root, "config", "user.email", "ann@example.org")
        git(self.root, "config", "user.name", "Ann")
        git(self.root, "add", ".")
        git(self.root, "commit", "-q", "-m", "a project")
        git(self.root, "init", "-q", "--bare", "-b", "main", str(self.root / ".modelramp/remote"))
        git(self.root, "remote", "add", "origin", str(self.root / ".modelramp/remote"))
        git(self.root, "push", "-q", "-u", "origin", "main")

    @property
    def head(self) -> str:
        return git(self.root, "rev-parse", "HEAD")

    def job(
        self, name: str, context: dict[str, str] | None = None, expect: int = 0
    ) -> tuple[dict[str, str], str]:
        """Runs a job of a workflow; returns its outputs, and what it printed."""
        variables = machine({**self.project.pulumi_environment(), **environment(self.server)})
        event = self.root / ".modelramp" / "event.json"
        number = len(self.server.requests)
        event.write_text(json.dumps({"pull_request": {"number": number}}))
        variables["GITHUB_EVENT_PATH"] = str(event)
        names = {"github.token": "T0KEN", "matrix.stack": "local", "vars.STACKS": "local"}
        job = Job(self.root, variables, name, names | (context or {}))
        return job.run(expect), job.printed

    def review(self, branch: str) -> str:
        """Runs the preview of a branch; returns the comment that it makes."""
        git(self.root, "fetch", "-q", "origin", branch)
        git(self.root, "checkout", "-q", "FETCH_HEAD")
        base = git(self.root, "rev-parse", "main")
        context = {"github.event.pull_request.base.sha": base}
        touched, _ = self.job("preview.stacks", context)
        assert json.loads(touched["touched"]) == ["local"]
        self.job("preview.preview", context)
        return self.server.comments[-1]

    def merge(self, branch: str) -> None:
        """Merges a branch as a person does, and runs what follows."""
        git(self.root, "checkout", "-q", "main")
        before = self.head
        git(self.root, "merge", "-q", "--ff-only", f"origin/{branch}")
        git(self.root, "push", "-q", "origin", "main")
        self.server.open[0]["open"] = False
        touched, _ = self.job("up.stacks", {"github.event.before": before})
        assert json.loads(touched["touched"]) == ["local"]
        self.job("up.up")


@pytest.fixture
def team(project: Project, server: Server) -> Team:  # noqa: F811
    project.local("up")
    now = control.status(project.home)
    assert now
    variables = {**project.environment(), **control.store_environment(project.home, now)}
    train = (sys.executable, "-m", "examples.biopsy.train", "--tracking-uri")
    rows = str(project.home.path / "rows.json")
    subprocess.run(
        (*train, variables["MLFLOW_TRACKING_URI"], "--out", rows),
        cwd=project.root,
        env=variables,
        stdout=subprocess.DEVNULL,
        timeout=300,
        check=True,
    )
    project.pulumi("stack", "select", "--create").communicate(timeout=60)
    return Team(project, server)


def deployed(team: Team, version: str) -> str:
    """Deploys a version by its workflow; returns the comment on its request."""
    inputs = {"inputs.stack": "local", "inputs.service": "biopsy", "inputs.version": version}
    team.job("deploy.deploy", inputs)
    (request,) = team.server.open
    assert f"{version} begins at" in request["title"]
    branch = "modelramp-deploy/local/biopsy"
    comment = team.review(branch)
    team.merge(branch)
    return comment


def test_a_version_from_a_click_to_its_second_step(team: Team):
    deployed(team, "1.0.0")
    comment = deployed(team, "2.0.0")
    assert "candidate 2.0.0" in comment
    assert "5%" in comment
    rollout = load_stack(team.project.file).services["biopsy"].rollout
    assert rollout
    assert (rollout.stable, rollout.candidate, rollout.percent) == ("1.0.0", "2.0.0", 5)

    branch = "modelramp/local/biopsy"
    with team.project.traffic(150):
        give_up_at = time.monotonic() + 120
        while not team.server.open:
            assert time.monotonic() < give_up_at
            team.job("drift-check.drift-check")
        (request,) = team.server.open
        assert request["title"] == "local: biopsy: candidate 2.0.0 from 5% to 25%"
        assert "(<https://ci.example/rollouts.html>)" in request["body"]
        assert "| errorRate |" in request["body"]
        assert "<svg" in (team.root / "out" / "rollouts.html").read_text()

        # What a reviewer sees: one line more in the stack file, one in the log.
        git(team.root, "fetch", "-q", "origin", f"{branch}:refs/remotes/origin/{branch}")
        changed = git(team.root, "diff", "--numstat", "main", f"origin/{branch}").split()
        assert changed == [
            *("1", "0", "stacks/Pulumi.local.yaml"),
            *("1", "0", "stacks/history/local/biopsy.jsonl"),
        ]
        comment = team.review(branch)
        assert "candidate 2.0.0 from 5% to 25%" in comment
        assert "stable 1.0.0 from 95% to 75%" in comment
        assert len(team.server.comments) == 3  # one on each request
        team.merge(branch)
        route = next(team.project.home.manifests.rglob("*httproute*biopsy.yaml"))
        assert "weight: 25" in route.read_text()

    # A person's own edit is no line in the log until `up` records it.
    text = team.project.file.read_text()
    last = next(line for line in reversed(text.splitlines()) if "percent: 25" in line)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    indent = last[: len(last) - len(last.lstrip())]
    mine = f'{last}\n{indent}- {{percent: 50, at: "{at}", why: "it is fine"}}'
    git(team.root, "checkout", "-q", "-b", "mine")
    team.project.file.write_text(text.replace(last, mine))
    git(team.root, "commit", "-q", "-a", "-m", "half of it")
    git(team.root, "push", "-q", "origin", "mine")
    team.server.add("mine", "half of it", "")
    assert "from 25% to 50%" in team.review("mine")
    team.merge("mine")
    log = history.lines(history.history_path(team.project.file, "local", "biopsy"))
    assert (log[-1]["to"], log[-1]["by"], log[-1]["verdict"]) == (50, "ann@example.org", "by hand")
    assert git(team.root, "ls-remote", "origin", "main").split()[0] == team.head

    # What is older than what is merged is not applied.
    git(team.root, "checkout", "-q", "HEAD~2")
    _, printed = team.job("up.up", expect=2)
    assert "does not go on from origin/main" in printed


def test_the_workflows_are_sound(tmp_path: Path):
    files = map(str, sorted((FOLDER / "workflows").glob("*.yml")))
    done = subprocess.run(
        (ensure("actionlint"), "-no-color", *files),
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
