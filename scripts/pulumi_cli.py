"""Runs the real Pulumi CLI on a local stack."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil

from local.home import Home
from local.plugins.environment import pulumi_environment
from local.processes import MARK
from local.tools import Progress
from models.errors import RuntimeTargetError

UP_TIMEOUT_SECONDS = 900


class Pulumi:
    """The Pulumi CLI on one stack of this project.

    Args:
        home: the project.
        stack: name of the stack; made if it does not exist.
        progress: told what is fetched if the CLI or a plugin is missing.
        mark: the folder that its processes are marked with.
        kubeconfig: of the cluster; None on the embedded target, which has none.
    """

    def __init__(
        self, home: Home, stack: str, progress: Progress, *, mark: Path, kubeconfig: Path | None
    ) -> None:
        self._home = home
        self._stack = stack
        # Marked as ours: should we be killed, `modelramp local down` finds it and its plugins.
        environment = pulumi_environment(home, progress, kubeconfig=kubeconfig)
        self._environment = {**environment, MARK: str(mark)}

    def select(self) -> None:
        """Makes the stack if it does not exist; unlocks it if the one who locked it was killed."""
        self._run("stack", "select", "--create", self._stack)
        files = self._home.pulumi_state.rglob("locks/**/*.json")
        holders = [json.loads(file.read_text())["pid"] for file in files]
        if holders and not any(_is_pulumi(pid) for pid in holders):
            self._run("cancel", "--yes", "--stack", self._stack)

    def up(self) -> None:
        """Makes what the stack file declares so."""
        self._run("up", "--yes", "--skip-preview", "--stack", self._stack)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            # A few seconds of work beside live traffic: it can wait, requests can't.
            ("nice", "pulumi", "--non-interactive", "--color", "never", *arguments),
            cwd=self._home.root,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=UP_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeTargetError(f"pulumi {' '.join(arguments)} failed:\n{said}")


def _is_pulumi(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "pulumi"
    except psutil.NoSuchProcess:
        return False
