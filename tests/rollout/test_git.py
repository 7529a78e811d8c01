# pyright: basic
"""Commits beside a person's work, with the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from models.errors import GitError
from rollout.git import BOT_IDENTITY, Repository


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ("git", *arguments), cwd=folder, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.rstrip("\n")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with two files, beside its bare remote; nobody's own git settings."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(tmp_path, "clone", "-q", "remote.git", "tree")
    made = tmp_path / "tree"
    git(made, "checkout", "-q", "-b", "main")
    for name in ("a", "b"):
        (made / name).write_text("first\n")
    Repository(made).run("add", "a", "b")
    Repository(made).commit([made / "a", made / "b"], "first")
    git(made, "push", "-q", "-u", "origin", "main")
    return made


def test_a_commit_takes_its_own_files_and_leaves_what_else_is_staged(tree: Path):
    (tree / "a").write_text("second\n")
    (tree / "new").mkdir()
    (tree / "new" / "log").write_text("line\n")
    (tree / "b").write_text("staged\n")
    git(tree, "add", "b")
    (tree / "b").write_text("changed since\n")
    commit = Repository.of(tree / "new").commit([tree / "a", tree / "new" / "log"], "a: 5%\n\nwhy")
    assert git(tree, "show", "--name-only", "--format=%s|%b", commit).split() == [
        *("a:", "5%|why", "a", "new/log")
    ]
    assert git(tree, "diff", "--cached", "--name-only") == "b"
    assert git(tree, "show", ":b") == "staged"
    assert (tree / "b").read_text() == "changed since\n"


def test_a_bot_commits_where_git_is_told_of_nobody(tree: Path):
    assert git(tree, "log", "-1", "--format=%an|%ae|%cn").split("|") == [
        *BOT_IDENTITY,
        BOT_IDENTITY[0],
    ]
    git(tree, "config", "user.email", "ann@example.org")
    git(tree, "config", "user.name", "Ann")
    (tree / "a").write_text("hers\n")
    Repository(tree).commit([tree / "a"], "hers")
    assert git(tree, "log", "-1", "--format=%an") == "Ann"


def test_what_a_person_left_half_done_is_not_mixed_in(tree: Path):
    repository = Repository(tree)
    repository.check_committable([tree / "a", tree / "none"])
    (tree / "b").write_text("another file\n")
    repository.check_committable([tree / "a"])
    (tree / "a").write_text("a person's\n")
    with pytest.raises(GitError, match=r"commit these first.*\n M a"):
        repository.check_committable([tree / "a"])
    git(tree, "checkout", "a")
    (tree / ".git" / "MERGE_HEAD").write_text(git(tree, "rev-parse", "HEAD") + "\n")
    with pytest.raises(GitError, match="MERGE_HEAD"):
        repository.check_committable([tree / "a"])


def test_the_merged_text_is_that_of_the_remote_now(tree: Path, tmp_path: Path):
    git(tmp_path, "clone", "-q", "remote.git", "other")
    other = tmp_path / "other"
    (other / "a").write_text("merged\n")
    Repository(other).commit([other / "a"], "merged")
    git(other, "push", "-q")
    assert Repository(tree).merged(tree / "a") == ("origin/main", "merged")
    assert Repository(tree).merged(tree / "none") is None
    git(tree, "remote", "set-url", "origin", str(tmp_path / "gone"))
    with pytest.raises(GitError, match="ls-remote"):
        Repository(tree).merged(tree / "a")


def test_outside_of_a_repository_is_said(tmp_path: Path):
    with pytest.raises(GitError, match="not a git repository"):
        Repository.of(tmp_path)


def test_no_credentials_are_shown(tree: Path):
    git(tree, "remote", "set-url", "origin", "http://ann:T0KEN@127.0.0.1:9/x.git")
    with pytest.raises(GitError) as error:
        Repository(tree).default_branch()
    assert "T0KEN" not in str(error.value)
    assert "127.0.0.1:9" in str(error.value)
