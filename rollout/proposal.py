"""Moves as pull requests: one branch and one request a service, always base and one commit."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from models.errors import GitError
from models.stack import load_stack
from rollout import history
from rollout.declare import write_edit
from rollout.drift_check import Outcome
from rollout.edits import is_revert
from rollout.evidence_page import body, commit_message, title
from rollout.forge import Forge, ThereAlreadyError, UnsureError
from rollout.git import Repository
from rollout.plan import BOT

Decide = Callable[[Path], Sequence[Outcome]]
"""Does a dry run of drift-check on a stack file."""


@dataclass(frozen=True)
class Proposed:
    """What became of a service.

    Attributes:
        service: its name.
        what: `pushed`: the move is on the base branch, without a request.
        url: of the request's page; None of `pushed`.
    """

    service: str
    what: Literal["opened", "updated", "closed", "pushed"]
    url: str | None


@dataclass(frozen=True)
class Proposal:
    """How moves of a stack are proposed.

    Attributes:
        repository: the working tree that this runs in; it is left as it is.
        file: the stack file in it.
        stack: name of the stack.
        forge: where requests are opened.
        base: the branch they go to.
        push_reverts: push a revert to the base branch, without a request.
        evidence_url: of a page with plots, if there is one.
    """

    repository: Repository
    file: Path
    stack: str
    forge: Forge
    base: str
    push_reverts: bool = False
    evidence_url: str | None = None

    def make(self, decide: Decide) -> tuple[list[Outcome], list[Proposed]]:
        """Decides on the stack file as it is on the base branch now, and proposes what it gives.

        Reverts come first. What gives no move any more is closed.

        Raises:
            GitError: git or the server refused; what was proposed before stays.
        """
        repository = self.repository
        repository.run("fetch", "--quiet", "origin", self.base)
        start = repository.run("rev-parse", "FETCH_HEAD")
        with _worktree(repository, start) as folder:
            file = folder / self.file.resolve().relative_to(repository.root.resolve())
            outcomes = list(decide(file))
            moving = [it for it in outcomes if it.edit]
            moving.sort(key=lambda it: not (it.edit and is_revert(it.edit)))
            done = [self._propose(it, file, folder, start) for it in moving]
            there = self._branches()
            still = [it for it in outcomes if not it.edit and self._branch(it.service) in there]
            done += [found for it in still for found in self._withdraw(it.service, _why(it))]
        return outcomes, done

    def _branch(self, service: str) -> str:
        return f"modelramp/{self.stack}/{service}"

    def _branches(self) -> dict[str, str]:
        """Returns the commit of each of our branches on the remote."""
        said = self.repository.run("ls-remote", "--heads", "origin", f"modelramp/{self.stack}/*")
        pairs = (line.split("\t") for line in said.splitlines())
        return {name.removeprefix("refs/heads/"): commit for commit, name in pairs}

    def _propose(self, outcome: Outcome, file: Path, folder: Path, start: str) -> Proposed:
        assert outcome.edit is not None  # noqa: S101  chosen by it
        message = commit_message(outcome)
        commit = self._commit(outcome, message, file, folder, start)
        if self.push_reverts and is_revert(outcome.edit) and self._push_to_base(commit):
            self._withdraw(outcome.service, f"taken back by {commit}")
            return Proposed(outcome.service, "pushed", None)
        branch = self._branch(outcome.service)
        self._push(branch, commit, message, start)
        text = body(outcome, self.stack, self.evidence_url)
        return self._request(outcome.service, branch, title(outcome, self.stack), text)

    def _commit(self, outcome: Outcome, message: str, file: Path, folder: Path, start: str) -> str:
        """Returns a commit of the edit on top of the base branch."""
        assert outcome.edit is not None  # noqa: S101  chosen by it
        self.repository.run("reset", "--quiet", "--hard", start, folder=folder)
        name, now = outcome.service, datetime.now(UTC)
        seen, verdict = load_stack(file), outcome.verdict
        write_edit(file, self.stack, name, seen, outcome.edit, now, by=BOT, verdict=verdict)
        log = history.history_path(file, self.stack, name)
        return self.repository.commit([file, log], message, folder)

    def _push_to_base(self, commit: str) -> bool:
        """Pushes to the base branch, if it has not moved meanwhile and takes pushes."""
        try:
            self.repository.run("push", "--quiet", "origin", f"{commit}:refs/heads/{self.base}")
        except GitError:
            return False
        return True

    def _push(self, branch: str, commit: str, message: str, start: str) -> None:
        """Pushes to our own branch, unless the same move from the same base is there."""
        if self._is_there(branch, message, start):
            return
        lease = f"--force-with-lease=refs/heads/{branch}:{self._branches().get(branch, '')}"
        try:
            self.repository.run("push", "--quiet", lease, "origin", f"{commit}:refs/heads/{branch}")
        except GitError:
            # Another run may have been faster.
            if not self._is_there(branch, message, start):
                raise

    def _is_there(self, branch: str, message: str, start: str) -> bool:
        """Whether the branch is the base and a commit of this move; its evidence may be older."""
        if branch not in self._branches():
            return False
        self.repository.run("fetch", "--quiet", "origin", branch)
        said = self.repository.run("log", "-1", "--format=%P%n%s", "FETCH_HEAD")
        return said.splitlines() == [start, message.partition("\n")[0]]

    def _request(self, service: str, branch: str, title: str, text: str) -> Proposed:
        for _ in range(2):
            if found := self.forge.find(branch):
                first, *more = found
                if (first.title, first.body) != (title, text):
                    self.forge.update(first, title, text)
                for it in more:
                    self.forge.close(it, f"{first.url} is the one that is kept.")
                return Proposed(service, "updated", first.url)
            try:
                made = self.forge.create(branch, self.base, title, text)
            except (ThereAlreadyError, UnsureError):
                continue  # look again
            return Proposed(service, "opened", made.url)
        raise GitError(f"no request could be opened for {branch}; the branch is there")

    def _withdraw(self, service: str, why: str) -> list[Proposed]:
        """Closes the requests of a service, and deletes its branch."""
        branch = self._branch(service)
        found = self.forge.find(branch)
        for it in found:
            self.forge.close(it, why)
        if branch in self._branches():
            self.repository.run("push", "--quiet", "origin", "--delete", f"refs/heads/{branch}")
        return [Proposed(service, "closed", it.url) for it in found]


def _why(outcome: Outcome) -> str:
    verdict = outcome.verdict
    said = f"{verdict.kind}: {verdict.reason}" if verdict else "no rollout is going on"
    return f"drift-check finds no move any more. {said}"


@contextmanager
def _worktree(repository: Repository, commit: str) -> Generator[Path]:
    """Gives a working tree of a commit, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="modelramp-"))
    try:
        repository.run("worktree", "add", "--quiet", "--detach", str(folder / "tree"), commit)
        yield folder / "tree"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(GitError):
            repository.run("worktree", "prune")
