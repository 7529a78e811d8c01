# pyright: basic
"""One comment a stack, with a server that speaks GitHub's API, or GitLab's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError, GitError
from review.comment import marker
from review.posting import post
from review.pull_request import PullRequest, pull_request_of
from rollout import forge as forges
from rollout.forge import ForbiddenError, UnsureError, forge_of
from tests.rollout.forge_server import Server, environment, server

__all__ = ["server"]
BODY = f"{marker('prod')}\nit moves\n"


def posted(server: Server, body: str = BODY, stack: str = "prod", kind: str = "github") -> str:
    return post(forge_of(environment(server, kind), "x"), 7, stack, body)


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_comment_is_made_once_and_then_changed_in_place(server: Server, kind: str):
    assert posted(server, kind=kind) == "made"
    assert posted(server, BODY + "again\n", kind=kind) == "changed"
    assert server.comments == [BODY + "again\n"]
    method, path = server.writes[-1]
    assert (method, path) == {
        "github": ("PATCH", "/repos/ann/models/issues/comments/1"),
        "gitlab": ("PUT", "/projects/7/merge_requests/7/notes/1"),
    }[kind]


def test_the_same_comment_is_not_written_again(server: Server):
    posted(server)
    server.notes[0]["body"] = BODY.replace("\n", "\r\n").strip()
    assert posted(server) == "same"
    assert len(server.writes) == 1


def test_all_pages_are_looked_at(server: Server):
    for number in range(5):
        server.add_note(7, f"comment {number}")
    server.add_note(8, BODY)  # of another request
    server.add_note(7, BODY, "Bot")
    assert posted(server, BODY + "new\n") == "changed"
    assert server.comments[-1] == BODY + "new\n"
    assert len(server.notes) == 7


def test_each_stack_has_its_own(server: Server):
    posted(server)
    assert posted(server, f"{marker('prod-eu')}\nx\n", "prod-eu") == "made"
    assert posted(server, BODY + "new\n") == "changed"
    assert server.comments == [BODY + "new\n", f"{marker('prod-eu')}\nx\n"]


def test_what_people_quote_is_not_ours(server: Server):
    server.add_note(7, f"> {BODY}")
    server.add_note(7, "", "Bot")
    assert posted(server) == "made"


def test_a_bot_s_comment_goes_before_one_that_only_has_the_marker(server: Server):
    server.add_note(7, BODY + "of a person")
    server.add_note(7, BODY + "of ours", "Bot")
    assert posted(server) == "changed"
    assert server.comments == [BODY + "of a person", BODY]


def test_a_token_of_a_fork_may_not(server: Server):
    server.statuses = [200, 403]
    with pytest.raises(ForbiddenError, match="pull-requests: write") as error:
        posted(server)
    assert "T0KEN" not in str(error.value)
    assert server.comments == []


def test_what_may_have_been_made_is_looked_for_before_it_is_made_again(server: Server):
    server.statuses = [200, 502]  # it is there all the same
    assert posted(server) == "same"
    assert server.comments == [BODY]


def test_a_change_that_may_not_have_been_done_is_done_again(server: Server):
    posted(server)
    server.statuses = [200, 503]
    assert posted(server, BODY + "new\n") == "same"
    assert server.comments == [BODY + "new\n"]


def test_a_read_is_tried_again(server: Server):
    server.statuses = [503, 503]
    assert posted(server) == "made"


def test_a_server_that_only_fails_is_said(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forges, "ATTEMPTS", 1)
    server.statuses = [503]
    with pytest.raises(UnsureError, match="answered 503 to GET"):
        posted(server)
    server.statuses = [404]
    with pytest.raises(GitError, match="answered 404"):
        posted(server)


def test_github_tells_of_its_pull_request(tmp_path: Path):
    event = tmp_path / "event.json"
    labels = [{"name": "allow-deletes"}, {"name": "x"}]
    request = {"number": 12, "labels": labels, "head": {"sha": "abc"}}
    event.write_text(json.dumps({"pull_request": request}))
    said = {
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_SHA": "of the merge",
        "GITHUB_REPOSITORY": "ann/models",
        "GITHUB_RUN_ID": "5",
    }
    assert pull_request_of(said) == PullRequest(
        12,
        ("allow-deletes", "x"),
        "abc",
        "https://github.com/ann/models/actions/runs/5",
        "https://github.com/ann/models/blob/abc",
    )


def test_a_ref_tells_the_number_too():
    assert pull_request_of({"GITHUB_REF": "refs/pull/3/merge"}).number == 3
    assert pull_request_of({"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "abc"}) == PullRequest(
        None, commit="abc"
    )


def test_gitlab_tells_of_its_merge_request():
    found = pull_request_of(
        {
            "CI_MERGE_REQUEST_IID": "4",
            "CI_MERGE_REQUEST_LABELS": "allow-deletes,x",
            "CI_COMMIT_SHA": "abc",
            "CI_JOB_URL": "https://gitlab.example/job/1",
            "CI_PROJECT_URL": "https://gitlab.example/ann/models",
        }
    )
    assert (found.number, found.labels, found.commit) == (4, ("allow-deletes", "x"), "abc")
    assert found.files_url == "https://gitlab.example/ann/models/-/blob/abc"


def test_an_event_that_cannot_be_read_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="GITHUB_EVENT_PATH: cannot be read"):
        pull_request_of({"GITHUB_EVENT_PATH": str(tmp_path / "none")})
