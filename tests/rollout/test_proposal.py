# pyright: basic
"""Pull requests, with the real git and a server that speaks GitHub's API, or GitLab's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError, GitError
from rollout import forge as forges
from rollout.drift_check import drift_check
from rollout.evidence_page import body
from rollout.forge import forge_of
from rollout.git import Repository
from rollout.proposal import Proposal
from rollout.requests import Requests
from tests.rollout.forge_server import Server, environment, server
from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import NOW, Broken, Harmful
from tests.rollout.test_git import git, tree  # noqa: F401
from tests.stacks import LOCAL

__all__ = ["server"]
BRANCH = "modelramp/local/fraud"


@pytest.fixture
def file(tree: Path) -> Path:  # noqa: F811
    path = tree / "Pulumi.local.yaml"
    path.write_text(LOCAL)
    git(tree, "add", ".")
    git(tree, "-c", "user.email=a@b", "-c", "user.name=a", "commit", "-q", "-m", "stack")
    git(tree, "push", "-q")
    return path


def proposal(file: Path, server: Server, kind: str = "github", **options: Any) -> Proposal:
    found = forge_of(environment(server, kind), "x")
    requests = Requests(Repository(file.parent), found, "main")
    return Proposal(requests, file, "local", **options)


def make(file: Path, server: Server, metrics: Recorded, kind: str = "github", **options: Any):
    def decide(path: Path):
        return list(drift_check(path, "local", metrics, dry_run=True, clock=lambda: NOW))

    _, done = proposal(file, server, kind, **options).make(decide)
    return [(it.service, it.what) for it in done]


def remote(file: Path, name: str = BRANCH) -> str:
    return git(file.parent, "ls-remote", "origin", f"refs/heads/{name}").partition("\t")[0]


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_move_is_a_branch_and_a_request_with_its_evidence(file: Path, server: Server, kind):
    before = git(file.parent, "rev-parse", "HEAD")
    assert make(file, server, Recorded(), kind) == [("fraud", "opened")]
    (request,) = server.open
    assert request["title"] == "local: fraud: candidate 1.5.0 from 5% to 25%"
    assert "| errorRate |" in request["body"]
    git(file.parent, "fetch", "-q", "origin", BRANCH)
    said = git(file.parent, "show", "--name-only", "--format=%P", "FETCH_HEAD")
    assert said.split() == [before, "Pulumi.local.yaml", "history/local/fraud.jsonl"]
    assert "percent: 25" in git(file.parent, "show", "FETCH_HEAD:Pulumi.local.yaml")
    # What runs here is left as it is.
    assert git(file.parent, "rev-parse", "HEAD") == before
    assert git(file.parent, "status", "--porcelain") == ""
    assert len(git(file.parent, "worktree", "list").splitlines()) == 1
    assert file.read_text() == LOCAL


def test_the_same_move_is_neither_pushed_nor_asked_for_again(file: Path, server: Server):
    make(file, server, Recorded())
    pushed, writes = remote(file), len(server.writes)
    assert make(file, server, Recorded()) == [("fraud", "updated")]
    assert (remote(file), len(server.writes)) == (pushed, writes)


def test_a_base_that_went_on_gets_the_branch_written_anew(file: Path, server: Server):
    make(file, server, Recorded())
    (file.parent / "a").write_text("another\n")
    Repository(file.parent).commit([file.parent / "a"], "another")
    git(file.parent, "push", "-q")
    assert make(file, server, Recorded()) == [("fraud", "updated")]
    git(file.parent, "fetch", "-q", "origin", BRANCH)
    assert git(file.parent, "rev-parse", "FETCH_HEAD^") == git(file.parent, "rev-parse", "HEAD")
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_no_move_any_more_closes_it(file: Path, server: Server, kind):
    make(file, server, Recorded(), kind)
    assert make(file, server, Broken(), kind) == [("fraud", "closed")]
    assert not server.open
    assert "Prometheus is on holiday" in server.comments[0]
    assert remote(file) == ""
    assert make(file, server, Broken(), kind) == []


def test_a_revert_takes_the_place_of_an_advance_and_says_so(file: Path, server: Server):
    make(file, server, Recorded())
    assert make(file, server, Harmful()) == [("fraud", "updated")]
    (request,) = server.open
    assert request["title"] == "REVERT local: fraud: candidate 1.5.0 taken back, from 5% to 0%"


def test_a_revert_may_be_pushed_straight(file: Path, server: Server):
    make(file, server, Recorded())
    assert make(file, server, Harmful(), push_reverts=True) == [("fraud", "pushed")]
    assert not server.open
    git(file.parent, "pull", "-q")
    assert "rejected" in file.read_text()
    assert git(file.parent, "log", "-1", "--format=%s").endswith("taken back, from 5% to 0%")
    # An advance never is.
    file.write_text(LOCAL)
    Repository(file.parent).commit([file], "again")
    git(file.parent, "push", "-q")
    assert make(file, server, Recorded(), push_reverts=True) == [("fraud", "opened")]


def test_a_base_that_takes_no_pushes_gets_a_request(file: Path, server: Server, tmp_path: Path):
    hook = tmp_path / "remote.git" / "hooks" / "update"
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/main ]\n')
    hook.chmod(0o755)
    assert make(file, server, Harmful(), push_reverts=True) == [("fraud", "opened")]
    assert server.open[0]["title"].startswith("REVERT ")


def test_two_at_once_end_with_one_branch_and_one_request(file: Path, server: Server):
    git(file.parent.parent, "clone", "-q", "remote.git", "second")
    files = [file, file.parent.parent / "second" / file.name]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda it: make(it, server, Recorded()), files))
    assert [name for each in done for name, _ in each] == ["fraud", "fraud"]
    assert len(server.requests) == 1
    assert remote(file)


def test_all_pages_are_looked_at(file: Path, server: Server):
    for number in range(5):
        server.add(BRANCH, f"number {number}", "x")
    assert make(file, server, Recorded()) == [("fraud", "updated")]
    assert [it["number"] for it in server.open] == [1]
    assert server.comments == [f"{server.url}/page/1 is the one that is kept."] * 4


def test_what_may_have_been_done_is_looked_for_before_it_is_done_again(file, server: Server):
    server.statuses = [200, 502]  # of the search, and of what opens it
    assert make(file, server, Recorded()) == [("fraud", "updated")]
    assert len(server.requests) == 1


def test_a_read_is_tried_again(file: Path, server: Server):
    server.statuses = [503, 503]
    assert make(file, server, Recorded()) == [("fraud", "opened")]


def test_a_token_without_rights_is_said_and_not_shown(file: Path, server: Server):
    server.statuses = [403]
    with pytest.raises(GitError, match="pull-requests: write") as error:
        make(file, server, Recorded())
    assert "T0KEN" not in str(error.value)
    assert len(git(file.parent, "worktree", "list").splitlines()) == 1


def test_an_interrupt_leaves_no_working_tree(file: Path, server: Server):
    def interrupted(path: Path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proposal(file, server).make(interrupted)
    assert len(git(file.parent, "worktree", "list").splitlines()) == 1


def test_the_token_goes_to_no_other_host(file: Path, server: Server, monkeypatch):
    monkeypatch.setattr(
        Server, "answer", lambda *_: (200, [], {"Link": '<http://other.example/>; rel="next"'})
    )
    with pytest.raises(GitError, match=r"another host, other\.example"):
        make(file, server, Recorded())


def test_names_of_people_are_no_markup(file: Path):
    (outcome, *_) = drift_check(file, "local", Harmful(), dry_run=True, clock=lambda: NOW)
    assert outcome.edit
    object.__setattr__(outcome.edit, "why", "ask @ann, see #7 | <b>now</b>")
    text = body(outcome, "local", "https://ci.example/a b>")
    assert "ask @\u200bann, see #\u200b7 \\| &lt;b&gt;now&lt;/b&gt;" in text
    assert "](<https://ci.example/a b%3E>)" in text


@pytest.mark.parametrize(
    ("remote_url", "api"),
    [
        ("https://github.com/ann/models.git", "https://api.github.com/repos/ann/models/"),
        ("git@github.com:ann/models.git", "https://api.github.com/repos/ann/models/"),
        ("ssh://git@github.com:22/ann/models", "https://api.github.com/repos/ann/models/"),
        (
            "https://oauth2:x@gitlab.example.com/team/sub/models.git",
            "https://gitlab.example.com/api/v4/projects/team%2Fsub%2Fmodels/",
        ),
    ],
)
def test_the_repository_is_told_by_its_remote(remote_url: str, api: str):
    found = forge_of({"GITHUB_TOKEN": "a", "GITLAB_TOKEN": "b"}, remote_url)
    assert str(found._url) == api


def test_no_forge_and_no_token_are_said():
    with pytest.raises(ConfigError, match="GITHUB_TOKEN, or GITLAB_TOKEN"):
        forge_of({}, "https://github.com/ann/models.git")
    with pytest.raises(ConfigError, match=r"origin is at example\.com"):
        forge_of({"GITHUB_TOKEN": "a"}, "https://example.com/ann/models.git")


def test_a_server_that_is_down_is_said(file: Path, server: Server, monkeypatch):
    monkeypatch.setattr(forges, "ATTEMPTS", 1)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(GitError, match="did not answer"):
        make(file, server, Recorded())
