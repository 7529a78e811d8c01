"""Start, stop and ask the embedded target from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil

from local.embedded.manifests import digest_of
from local.embedded.runtime import Binaries
from local.home import Home
from local.processes import (
    MARK,
    end_marked_processes,
    marked_processes,
    python,
)
from local.stores import client_environment
from models.errors import RuntimeTargetError

CONTROLLER_MODULE = "local.embedded"
BASE_PROCESSES = ("store", "mlflow", "envoy", "prometheus")
POLL_SECONDS = 0.1
GRACE_SECONDS = 40.0
"""The controller waits for its model servers' own grace."""


def status(home: Home) -> dict[str, Any] | None:
    """Returns what runs now, or None when nothing does."""
    running = any(_is_controller(process) for process in marked_processes(home.path))
    return _read_status(home) if running else None


def up(home: Home, binaries: Binaries, *, timeout_seconds: float = 180.0) -> dict[str, Any]:
    """Starts the embedded target if it does not run, and waits for its base processes.

    What a killed controller left behind is ended first.

    Returns:
        the status, as `status` does.

    Raises:
        RuntimeTargetError: it did not come up in time.
    """
    if status(home) is None:
        down(home)
        _start_controller(home, binaries)

    def base_ready(now: dict[str, Any]) -> bool:
        return all(now["processes"].get(name, {}).get("ready") for name in BASE_PROCESSES)

    return _wait(home, base_ready, timeout_seconds, "the embedded target")


def wait_applied(home: Home, *, timeout_seconds: float = 120.0) -> dict[str, Any]:
    """Waits until what the provider rendered is what runs.

    Raises:
        RuntimeTargetError: it did not get there in time; says what it waits for.
    """
    digest = digest_of(home.manifests)

    def applied(now: dict[str, Any]) -> bool:
        return now["applied"] and now["digest"] == digest

    return _wait(home, applied, timeout_seconds, "what was declared")


def down(home: Home) -> int:
    """Ends every process of this `.modelramp`; returns how many there were.

    The controller goes first: it ends its processes in good order and restarts none of them.
    """
    before = list(marked_processes(home.path))
    controllers = [process for process in before if _is_controller(process)]
    for process in controllers:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(controllers, timeout=GRACE_SECONDS)
    end_marked_processes(home.path)
    home.status_file.unlink(missing_ok=True)
    return len(before)


def store_environment(home: Home, now: dict[str, Any]) -> dict[str, str]:
    """Returns what a program needs in its environment to use the registry and its store."""
    return {
        **client_environment(home.path, now["endpoints"]["store"].removeprefix("http://")),
        "MLFLOW_TRACKING_URI": now["endpoints"]["mlflow"],
    }


def _is_controller(process: psutil.Process) -> bool:
    try:
        return CONTROLLER_MODULE in process.cmdline()
    except psutil.Error:
        return False


def _start_controller(home: Home, binaries: Binaries) -> None:
    home.manifests.mkdir(parents=True, exist_ok=True)
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "controller.log").open("ab") as output:
        subprocess.Popen(
            python(
                *("-m", CONTROLLER_MODULE, "--root", str(home.root)),
                *("--envoy", str(binaries.envoy)),
                *("--prometheus", str(binaries.prometheus)),
                *("--versitygw", str(binaries.versitygw)),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.root,
            env={**os.environ, MARK: str(home.path)},
            start_new_session=True,
        )


def _wait(
    home: Home, reached: Callable[[dict[str, Any]], bool], timeout_seconds: float, what: str
) -> dict[str, Any]:
    give_up_at = time.monotonic() + timeout_seconds
    now: dict[str, Any] | None = None
    while time.monotonic() < give_up_at:
        now = status(home)
        if now is not None and reached(now):
            return now
        time.sleep(POLL_SECONDS)
    raise RuntimeTargetError(
        f"{what} did not come up within {timeout_seconds:g} s: {_reason(now)}; "
        f"logs are in {home.logs}"
    )


def _reason(now: dict[str, Any] | None) -> str:
    if now is None:
        return "the controller does not run"
    if now["error"]:
        return str(now["error"])
    if now["pending"]:
        return "; ".join(f"route {route}: {why}" for route, why in now["pending"].items())
    waiting = [name for name, process in now["processes"].items() if not process["ready"]]
    return f"not ready: {', '.join(waiting)}" if waiting else "the controller has not seen it yet"


def _read_status(home: Home) -> dict[str, Any] | None:
    try:
        return json.loads(home.status_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
