# pyright: basic
"""A project of its own for each test module: a copy of what git tracks, with its own .modelramp."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.embedded import control
from local.home import Home

REPOSITORY = Path(__file__).parents[2]


class Project:
    """A copied project, used as its users do: by the command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root)

    def command(self, *arguments: str) -> list[str]:
        # -P: the copy's own folders, not the repository's, are what is run.
        code = "import sys; sys.path.insert(0, '.'); from scripts.main import app; app()"
        return [sys.executable, "-P", "-c", code, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root)}

    def run(
        self, *arguments: str, expect: int = 0, timeout_seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def check(self, expect: int) -> dict[str, Any]:
        done = self.run("check", "--stack", "local", "--json", "--detailed-exitcode", expect=expect)
        (outcome,) = json.loads(done.stdout)
        return outcome

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("local", "status", "--json").stdout)


def copy_repository(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    names: Sequence[str] = [name for name in listed.split("\0") if name]
    for name in names:
        source = REPOSITORY / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    (target / ".venv").symlink_to(REPOSITORY / ".venv")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    root = tmp_path_factory.mktemp("project").resolve()
    copy_repository(root)
    made = Project(root)
    yield made
    control.down(made.home)
