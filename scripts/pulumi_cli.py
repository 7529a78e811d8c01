"""Runs the real Pulumi CLI on a stack."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from local.home import Home
from local.plugins.environment import pulumi_environment
from local.processes import MARK
from local.tools import Progress
from models.errors import RuntimeTargetError, ToolError
from models.stack import Cluster

UP_TIMEOUT_SECONDS = 900
CANCEL_TIMEOUT_SECONDS = 60
_LOCKED = ("the stack is currently locked", "Another update is currently in progress")
"""What the CLI says of stores of its own, and of Pulumi Cloud."""


class StackLockedError(RuntimeTargetError):
    """Another `pulumi` holds the lock of the stack, which is one for all its resources."""


class Pulumi:
    """The Pulumi CLI on one stack of this project.

    Args:
        home: the project.
        stack: name of the stack.
        environment: all environment variables of the CLI.
    """

    def __init__(self, home: Home, stack: str, environment: Mapping[str, str]) -> None:
        self._home = home
        self._stack = stack
        self._environment = environment

    @classmethod
    def on_local(
        cls, home: Home, stack: str, progress: Progress, *, mark: Path, kubeconfig: Path | None
    ) -> Pulumi:
        """Returns the CLI on a local target's own state.

        Args:
            home: the project.
            stack: name of the stack.
            progress: told what is fetched if the CLI or a plugin is missing.
            mark: the folder that its processes are marked with.
            kubeconfig: of the cluster; None on the embedded target, which has none.
        """
        # Marked as ours: should we be killed, `modelramp local down` finds it and its plugins.
        environment = pulumi_environment(home, progress, kubeconfig=kubeconfig)
        return cls(home, stack, {**environment, MARK: str(mark)})

    @classmethod
    def of_user(cls, home: Home, stack: str, cluster: Cluster, progress: Progress) -> Pulumi:
        """Returns the CLI as its user has set it up; the embedded target has its own.

        Raises:
            ToolError: there is no `pulumi` on PATH.
        """
        if cluster.target == "embedded":
            return cls.on_local(home, stack, progress, mark=home.path, kubeconfig=None)
        if shutil.which("pulumi") is None:
            raise ToolError(
                "no pulumi on PATH; for the local cluster: modelramp local env --cluster"
            )
        return cls(home, stack, os.environ)

    def select(self) -> None:
        """Makes the stack if it does not exist; unlocks it if the one who locked it was killed."""
        self._run("stack", "select", "--create", self._stack)
        files = self._home.pulumi_state.rglob("locks/**/*.json")
        holders = [json.loads(file.read_text())["pid"] for file in files]
        if holders and not any(_is_pulumi(pid) for pid in holders):
            self._run("cancel", "--yes", "--stack", self._stack)

    def up(self, *targets: str) -> None:
        """Makes what the stack file declares so.

        Args:
            targets: logical names; with any of them, only these resources.

        Raises:
            StackLockedError: another `pulumi` works on the stack.
            RuntimeTargetError: it failed.
        """
        # A name ends the URN of a resource.
        only = [it for name in targets for it in ("--target", f"**::{name}")]
        self._run("up", "--yes", "--skip-preview", "--stack", self._stack, *only)

    def _run(self, *arguments: str) -> None:
        process = subprocess.Popen(
            # A few seconds of work beside live traffic: it can wait, requests can't.
            ("nice", "pulumi", "--non-interactive", "--color", "never", *arguments),
            cwd=self._home.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to hear
        )
        try:
            said, _ = process.communicate(timeout=UP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            what = f"pulumi {' '.join(arguments)} did not end in {UP_TIMEOUT_SECONDS} s"
            raise RuntimeTargetError(what) from None
        except BaseException:
            _end(process)
            raise
        if process.returncode:
            locked = any(words in said for words in _LOCKED)
            failed = StackLockedError if locked else RuntimeTargetError
            raise failed(f"pulumi {' '.join(arguments)} failed:\n{said.strip()}")


def _end(process: subprocess.Popen[str]) -> None:
    """Has `pulumi` end as on Ctrl-C: it gives the lock of the stack back."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=CANCEL_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _is_pulumi(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "pulumi"
    except psutil.NoSuchProcess:
        return False
