"""Branches of ours on a remote, each with at most one open pull request."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import GitError
from rollout.forge import Forge, ThereAlreadyError, UnsureError
from rollout.git import Repository


@dataclass(frozen=True)
class Text:
    """What a request says.

    Attributes:
        message: of its commit; the first line tells whether the same is there already.
        title: of the request.
        body: of the request, Markdown.
    """

    message: str
    title: str
    body: str


@dataclass(frozen=True)
class Put:
    """What became of a request.

    Attributes:
        what: `opened`, or `updated` where there was one.
        url: of its page.
    """

    what: Literal["opened", "updated"]
    url: str


@dataclass(frozen=True)
class Requests:
    """Where requests are opened.

    Attributes:
        repository: the working tree that this runs in; it is left as it is.
        forge: where requests are opened.
        base: the branch they go to.
    """

    repository: Repository
    forge: Forge
    base: str

    @contextmanager
    def checkout(self) -> Generator[Checkout]:
        """Gives a working tree of the base branch as it is on the remote now, gone afterwards.

        Raises:
            GitError: the remote does not answer, or has no such branch.
        """
        self.repository.run("fetch", "--quiet", "origin", self.base)
        start = self.repository.run("rev-parse", "FETCH_HEAD")
        folder = Path(tempfile.mkdtemp(prefix="modelramp-"))
        try:
            tree = folder / "tree"
            self.repository.run("worktree", "add", "--quiet", "--detach", str(tree), start)
            yield Checkout(self.repository, tree, start)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(GitError):
                self.repository.run("worktree", "prune")

    def branches(self, pattern: str) -> dict[str, str]:
        """Returns the commit of each branch on the remote that matches a pattern of git's."""
        said = self.repository.run("ls-remote", "--heads", "origin", pattern)
        pairs = (line.split("\t") for line in said.splitlines())
        return {name.removeprefix("refs/heads/"): commit for commit, name in pairs}

    def put(self, branch: str, commit: str, start: str, text: Text) -> Put:
        """Pushes a commit on top of the base to our own branch, and opens or renews its request.

        Args:
            branch: name; nobody else writes to it.
            commit: to push, unless the same from the same base is there.
            start: the base, which it is on top of.
            text: of the request.

        Raises:
            GitError: git or the server refused.
        """
        self._push(branch, commit, start, text.message)
        for _ in range(2):
            if found := self.forge.find(branch):
                first, *more = found
                if (first.title, first.body) != (text.title, text.body):
                    self.forge.update(first, text.title, text.body)
                for it in more:
                    self.forge.close(it, f"{first.url} is the one that is kept.")
                return Put("updated", first.url)
            try:
                made = self.forge.create(branch, self.base, text.title, text.body)
            except (ThereAlreadyError, UnsureError):
                continue  # look again
            return Put("opened", made.url)
        raise GitError(f"no request could be opened for {branch}; the branch is there")

    def withdraw(self, branch: str, why: str) -> list[str]:
        """Closes the requests of a branch and deletes it; returns the requests' pages."""
        found = self.forge.find(branch)
        for it in found:
            self.forge.close(it, why)
        if self.branches(branch):
            self.repository.run("push", "--quiet", "origin", "--delete", f"refs/heads/{branch}")
        return [it.url for it in found]

    def push_to_base(self, commit: str) -> bool:
        """Pushes to the base branch, if it has not moved meanwhile and takes pushes."""
        try:
            self.repository.run("push", "--quiet", "origin", f"{commit}:refs/heads/{self.base}")
        except GitError:
            return False
        return True

    def _push(self, branch: str, commit: str, start: str, message: str) -> None:
        there = self.branches(branch).get(branch, "")
        if there and self._is_there(branch, start, message):
            return
        lease = f"--force-with-lease=refs/heads/{branch}:{there}"
        try:
            self.repository.run("push", "--quiet", lease, "origin", f"{commit}:refs/heads/{branch}")
        except GitError:
            # Another run may have been faster.
            if not (self.branches(branch) and self._is_there(branch, start, message)):
                raise

    def _is_there(self, branch: str, start: str, message: str) -> bool:
        """Whether a branch is the base and a commit of this name; what it says may be older."""
        self.repository.run("fetch", "--quiet", "origin", branch)
        said = self.repository.run("log", "-1", "--format=%P%n%s", "FETCH_HEAD")
        return said.splitlines() == [start, message.partition("\n")[0]]


@dataclass(frozen=True)
class Checkout:
    """A working tree of the base branch.

    Attributes:
        repository: that it belongs to.
        folder: its root.
        start: the commit that it was made of.
    """

    repository: Repository
    folder: Path
    start: str

    def path(self, file: Path) -> Path:
        """Returns where a file of the working tree that this runs in lies here."""
        return self.folder / file.resolve().relative_to(self.repository.root.resolve())

    def commit(self, paths: list[Path], message: str) -> str:
        """Returns a commit of these files on top of the base branch."""
        return self.repository.commit(paths, message, self.folder)

    def reset(self) -> None:
        """Takes all back that was done here."""
        self.repository.run("reset", "--quiet", "--hard", self.start, folder=self.folder)
