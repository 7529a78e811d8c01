"""Git, as a command: what drift-check records there, and what it compares with."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import GitError

TIMEOUT_SECONDS = 60
BOT_IDENTITY = ("modelramp[bot]", "modelramp[bot]@users.noreply.invalid")
"""Name and address of commits where git is told of no other."""

_HALF_DONE = ("MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")


@dataclass(frozen=True)
class Repository:
    """A working tree.

    Attributes:
        root: its folder.
    """

    root: Path

    @classmethod
    def of(cls, folder: Path) -> Repository:
        """Finds the working tree that a folder lies in.

        Raises:
            GitError: there is none, or no git.
        """
        return cls(Path(_git(folder, "rev-parse", "--show-toplevel")))

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Runs git; returns what it printed, without the last line's end.

        Args:
            arguments: of git.
            folder: another working tree of the same repository.

        Raises:
            GitError: it failed; says what git said, without credentials.
        """
        return _git(folder or self.root, *arguments)

    def commit(self, paths: Sequence[Path], message: str, folder: Path | None = None) -> str:
        """Commits these files alone; what else is staged or changed stays as it is.

        Args:
            paths: files, new ones too.
            message: of the commit.
            folder: another working tree of the same repository.

        Returns:
            The commit.

        Raises:
            GitError: git refused.
        """
        names = [str(path) for path in paths]
        self.run("add", "--intent-to-add", "--", *names, folder=folder)
        folder = folder or self.root
        only = ("--quiet", "--only", "--message", message, "--", *names)
        _git(folder, "commit", *only, **_identity(folder))
        return self.run("rev-parse", "HEAD", folder=folder)

    def check_committable(self, paths: Sequence[Path]) -> None:
        """Refuses what would mix our commit with a person's work.

        Args:
            paths: files and folders that are to be committed.

        Raises:
            GitError: a merge is half done, or these have changes that are not committed.
        """
        folder = Path(self.run("rev-parse", "--absolute-git-dir"))
        if half := [name for name in _HALF_DONE if (folder / name).exists()]:
            raise GitError(f"{self.root} is in the middle of something ({half[0]}): end it first")
        changed = self.run("status", "--porcelain", "--", *map(str, paths))
        if changed:
            raise GitError(f"commit these first, or take them back:\n{changed}")

    def merged(self, path: Path) -> tuple[str, str] | None:
        """Returns the remote's default branch and the text that a file has there.

        None where the branch has no such file.

        Raises:
            GitError: there is no remote `origin`, or it does not answer.
        """
        branch = self.default_branch()
        self.run("fetch", "--quiet", "origin", branch)
        name = path.resolve().relative_to(self.root.resolve()).as_posix()
        if not self.run("ls-tree", "--name-only", "FETCH_HEAD", "--", name):
            return None
        return f"origin/{branch}", self.run("show", f"FETCH_HEAD:{name}")

    def default_branch(self) -> str:
        """Returns the branch that the remote's HEAD is.

        Raises:
            GitError: there is no remote `origin`, or it does not answer.
        """
        said = self.run("ls-remote", "--symref", "origin", "HEAD")
        found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", said, re.MULTILINE)
        if found is None:
            raise GitError("the remote origin has no default branch")
        return found[1]


def _git(folder: Path, *arguments: str, **environment: str) -> str:
    try:
        done = subprocess.run(
            ("git", *arguments),
            cwd=folder,
            env={**os.environ, **environment, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,  # Ctrl-C is ours to hear: a commit is made whole or not at all
        )
    except FileNotFoundError:
        raise GitError("there is no git on PATH") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} did not end in {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        said = _CREDENTIALS.sub(r"\1***@", (done.stderr or done.stdout).strip())
        raise GitError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout.rstrip("\n")


def _identity(folder: Path) -> dict[str, str]:
    """Returns who commits, where neither git nor the environment says so."""
    told = subprocess.run(
        ("git", "config", "user.email"),
        cwd=folder,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if told.stdout.strip() or os.environ.get("EMAIL"):
        return {}
    name, email = BOT_IDENTITY
    wanted = {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
    }
    return {key: value for key, value in wanted.items() if key not in os.environ}
