# pyright: basic
"""A project of its own: a copy of what git tracks, with its own .modelramp, used as users do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.home import Home
from local.plugins.environment import pulumi_environment
from rollout.stack_file import stack_path

REPOSITORY = Path(__file__).parents[1]


class Project:
    """A copied project on one of the local targets.

    Args:
        root: an empty folder to copy the repository to.
        stack: `local` or `cluster`.
        kubeconfig: of the cluster, if it is one.
    """

    def __init__(self, root: Path, stack: str, kubeconfig: Path | None = None) -> None:
        self.root = root
        self.home = Home(root)
        self.stack = stack
        self.kubeconfig = kubeconfig
        _copy_repository(root)

    @property
    def file(self) -> Path:
        return stack_path(self.root, self.stack)

    def command(self, *arguments: str) -> list[str]:
        # -P: the copy's own folders, not the repository's, are what is run.
        code = "import sys; sys.path.insert(0, '.'); from scripts.main import app; app()"
        return [sys.executable, "-P", "-c", code, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root)}

    def pulumi_environment(self) -> dict[str, str]:
        environment = pulumi_environment(self.home, kubeconfig=self.kubeconfig)
        return {**environment, "PYTHONPATH": str(self.root)}

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

    def start(self, *arguments: str, with_pulumi: bool = False) -> subprocess.Popen[str]:
        """Starts modelramp; `with_pulumi` after what `modelramp local env` says."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.pulumi_environment() if with_pulumi else self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def local(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs `modelramp local` for the target of the stack."""
        option = ("--cluster",) if self.kubeconfig else ()
        return self.run("local", *arguments, *option, expect=expect, timeout_seconds=900)

    def check(self, expect: int) -> dict[str, Any]:
        options = ("--json", "--detailed-exitcode")
        done = self.run("check", "--stack", self.stack, *options, expect=expect)
        (outcome,) = json.loads(done.stdout)
        return outcome

    def status(self) -> dict[str, Any]:
        return json.loads(self.local("status", "--json").stdout)

    def pulumi(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the Pulumi CLI on the stack."""
        options = ("--non-interactive", "--color=never", "--stack", self.stack)
        return subprocess.Popen(
            ["pulumi", *arguments, *options],
            cwd=self.root,
            env=self.pulumi_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self, *arguments: str, expect: int = 0) -> str:
        """Runs `pulumi up`; returns what it printed."""
        process = self.pulumi("up", "--yes", "--skip-preview", *arguments)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == expect, output
        return output

    @contextmanager
    def traffic(self, rate: int, service: str = "biopsy", *options: str) -> Generator[Path]:
        """Sends requests while the block runs; yields the file of what became of them."""
        report = self.home.path / f"traffic-{service}-{rate}.jsonl"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "examples.biopsy.traffic", "--rate", str(rate)),
                *("--url", self.status()["endpoints"]["gateway"]),
                *("--rows", str(self.home.path / "rows.json"), "--report", str(report)),
                *("--service", service, *options),
            ],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield report
        finally:
            process.terminate()
            process.wait(timeout=30)


def moves_of(told: dict[str, Any], version: str) -> list[tuple[int, int, str]]:
    """Returns the moves of one version in a quickstart's JSON: from, to, verdict."""
    return [
        (move["from"], move["to"], move["verdict"])
        for move in told["moves"]
        if move["candidate"] == version
    ]


def _copy_repository(target: Path) -> None:
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
