"""Pull requests of GitHub and merge requests of GitLab, by their HTTP APIs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from models.errors import ConfigError, GitError, Problem
from rollout.loopback import is_loopback

TIMEOUT_SECONDS = 15.0
ATTEMPTS = 3
"""Of a read."""

_SERVER_ERROR = 500
_FORBIDDEN = 403
_REFUSED = (401, _FORBIDDEN, 404)
_THERE_ALREADY = (409, 422)
_REMOTE = re.compile(r"^(?:\w+://)?(?:[^@/]+@)?([^/:]+)(?::\d+(?=/))?[/:](.+?)(?:\.git)?/?$")


class UnsureError(GitError):
    """A write may or may not have been done."""


class ThereAlreadyError(GitError):
    """What was to be made is there."""


class ForbiddenError(GitError):
    """The token may not do it, such as that of a pull request from a fork."""


@dataclass(frozen=True)
class Request:
    """An open pull request.

    Attributes:
        number: as people write it.
        url: of its page.
        title: its title.
        body: its text.
    """

    number: int
    url: str
    title: str
    body: str


@dataclass(frozen=True)
class Comment:
    """A comment on a request.

    Attributes:
        id: by which it is changed.
        body: its text.
        by_bot: whether a program wrote it; GitLab does not tell.
    """

    id: int
    body: str
    by_bot: bool


@dataclass(frozen=True)
class Dialect:
    """What differs between the two.

    Attributes:
        name: of the service.
        rights: that a token needs.
        requests: path of all requests, below the repository's.
        number: key of a request's number.
        url: key of its page.
        body: key of its text.
        source: key of the branch it comes from.
        target: key of the branch it goes to.
        opened: the state of open ones.
        close: what closes one.
        update: method of a change.
        comments: path of a request's comments, below the repository's.
        comment: path of one of them, by the request and the comment.
    """

    name: str
    rights: str
    requests: str
    number: str
    url: str
    body: str
    source: str
    target: str
    opened: str
    close: Mapping[str, str]
    update: str
    comments: str
    comment: str


GITHUB = Dialect(
    name="GitHub",
    rights="contents: write and pull-requests: write",
    requests="pulls",
    number="number",
    url="html_url",
    body="body",
    source="head",
    target="base",
    opened="open",
    close={"state": "closed"},
    update="PATCH",
    comments="issues/{}/comments",
    comment="issues/comments/{1}",
)
GITLAB = Dialect(
    name="GitLab",
    rights="the scope api, of a developer at least",
    requests="merge_requests",
    number="iid",
    url="web_url",
    body="description",
    source="source_branch",
    target="target_branch",
    opened="opened",
    close={"state_event": "close"},
    update="PUT",
    comments="merge_requests/{}/notes",
    comment="merge_requests/{0}/notes/{1}",
)


class Forge:
    """One repository on GitHub or GitLab.

    Args:
        dialect: which of them.
        url: of the repository in the API.
        token: a secret; it is in no error.
        owner: of branches, where requests are looked for by owner and branch.
    """

    def __init__(self, dialect: Dialect, url: str, token: str, owner: str | None = None) -> None:
        self._dialect = dialect
        self._owner = owner
        self._url = httpx.URL(url.rstrip("/") + "/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def find(self, branch: str) -> list[Request]:
        """Returns the open requests of a branch, of all pages."""
        head = f"{self._owner}:{branch}" if self._owner else branch
        asked = {"state": self._dialect.opened, self._dialect.source: head}
        return [self._request(it) for it in self._all(self._dialect.requests, asked)]

    def create(self, branch: str, base: str, title: str, body: str) -> Request:
        """Opens a request, of which there is none.

        Raises:
            ThereAlreadyError: somebody was faster.
            UnsureError: it may be there.
        """
        dialect = self._dialect
        content = {dialect.source: branch, dialect.target: base}
        content |= {"title": title, dialect.body: body}
        return self._request(self._write("POST", dialect.requests, content).json())

    def update(self, request: Request, title: str, body: str) -> None:
        """Gives a request another title and text."""
        content = {"title": title, self._dialect.body: body}
        self._write(self._dialect.update, f"{self._dialect.requests}/{request.number}", content)

    def close(self, request: Request, why: str) -> None:
        """Closes a request with a comment."""
        self._write("POST", self._dialect.comments.format(request.number), {"body": why})
        path = f"{self._dialect.requests}/{request.number}"
        self._write(self._dialect.update, path, self._dialect.close)

    def comments(self, number: int) -> list[Comment]:
        """Returns the comments on a request, of all pages, oldest first."""
        found = self._all(self._dialect.comments.format(number), {"sort": "asc"})
        return [
            Comment(it["id"], it["body"] or "", (it.get("user") or {}).get("type") == "Bot")
            for it in found
        ]

    def comment(self, number: int, body: str) -> None:
        """Comments on a request.

        Raises:
            ForbiddenError: the token may not.
            UnsureError: it may be there.
        """
        self._write("POST", self._dialect.comments.format(number), {"body": body})

    def change_comment(self, number: int, comment: Comment, body: str) -> None:
        """Gives a comment another text."""
        path = self._dialect.comment.format(number, comment.id)
        self._write(self._dialect.update, path, {"body": body})

    def _all(self, path: str, asked: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yields what is on all pages."""
        first = self._url.join(path).copy_merge_params({**asked, "per_page": "100"})
        page: httpx.URL | None = first
        while page:
            answer = self._read(page)
            yield from answer.json()
            following = answer.links.get("next", {}).get("url")
            page = httpx.URL(following) if following else None

    def _request(self, content: Mapping[str, Any]) -> Request:
        dialect = self._dialect
        return Request(
            content[dialect.number],
            content[dialect.url],
            content["title"],
            content[dialect.body] or "",
        )

    def _read(self, url: httpx.URL) -> httpx.Response:
        tries = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(0.2),
            retry=retry_if_exception_type(UnsureError),
            reraise=True,
        )
        return tries(self._send, "GET", url, None)

    def _write(self, method: str, path: str, content: Mapping[str, str]) -> httpx.Response:
        return self._send(method, self._url.join(path), content)

    def _send(
        self, method: str, url: httpx.URL, content: Mapping[str, str] | None
    ) -> httpx.Response:
        name, direct = self._dialect.name, is_loopback(url.host)
        if url.host != self._url.host:
            raise GitError(f"{name} leads to another host, {url.host}: the token stays here")
        try:
            with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not direct) as client:
                answer = client.request(method, url, json=content, headers=self._headers)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise UnsureError(f"{name} at {url.host} did not answer: {said}") from error
        what = f"{name} answered {answer.status_code} to {method} {url.path}: {answer.text[:300]}"
        if answer.status_code >= _SERVER_ERROR:
            raise UnsureError(what)
        if answer.status_code in _REFUSED:
            refused = ForbiddenError if answer.status_code == _FORBIDDEN else GitError
            raise refused(f"{what}\nthe token needs {self._dialect.rights}")
        if answer.status_code in _THERE_ALREADY and method == "POST":
            raise ThereAlreadyError(what)
        if not answer.is_success:
            raise GitError(what)
        return answer


def forge_of(environment: Mapping[str, str], remote_url: str) -> Forge:
    """Returns where the remote's requests are, by what CI sets or by the remote's address.

    Args:
        environment: GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_API_URL; or GITLAB_TOKEN,
            CI_PROJECT_ID, CI_API_V4_URL.
        remote_url: of `origin`.

    Raises:
        ConfigError: it is neither, or there is no token.
    """
    found = _REMOTE.match(remote_url)
    host, path = (found[1], found[2]) if found else ("", "")
    project = environment.get("CI_PROJECT_ID") or ("gitlab" in host and quote(path, safe=""))
    repository = environment.get("GITHUB_REPOSITORY") or ("github" in host and path)
    if repository and (token := environment.get("GITHUB_TOKEN")):
        api = environment.get("GITHUB_API_URL") or "https://api.github.com"
        url = f"{api.rstrip('/')}/repos/{repository}"
        return Forge(GITHUB, url, token, owner=repository.partition("/")[0])
    if project and (token := environment.get("GITLAB_TOKEN")):
        api = environment.get("CI_API_V4_URL") or f"https://{host}/api/v4"
        return Forge(GITLAB, f"{api.rstrip('/')}/projects/{project}", token)
    what = (
        f"a pull request needs GITHUB_TOKEN, or GITLAB_TOKEN; origin is at {host or 'no host'}. "
        "Elsewhere than on github or gitlab also GITHUB_REPOSITORY and GITHUB_API_URL, or "
        "CI_PROJECT_ID and CI_API_V4_URL"
    )
    raise ConfigError([Problem("--pull-request", what)])
