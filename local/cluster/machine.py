"""The machine's side of the node: starts it, ends it, and takes away what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from local.cluster import kubernetes
from local.cluster.layout import HOST_ADDRESS, NETWORK_BITS, Layout
from local.cluster.node import CGROUPS, LINK, Request
from local.commands import run
from local.processes import MARK, end_marked_processes, marked_processes
from models.errors import RuntimeTargetError

NODE_MODULE = "local.cluster.node"
HOST_LINK = "modelramp0"
POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
START_TIMEOUT_SECONDS = 120.0
LINK_GONE_SECONDS = 5.0
BASE_PROCESSES = ("containerd", "etcd", "apiserver", "kubelet", "proxy", "store", "mlflow")


def status(layout: Layout) -> dict[str, Any] | None:
    """Returns what runs on the node, or None when there is no cluster."""
    if _first_process(layout) is None:
        return None
    try:
        return json.loads(layout.status_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def start_node(layout: Layout, request: Request) -> None:
    """Starts the node if it does not run, and waits for its base processes.

    What a killed cluster left behind is taken away first.

    Raises:
        RuntimeTargetError: the machine lacks something, or it did not come up in time.
    """
    problems = missing_of_the_machine()
    if problems:
        raise RuntimeTargetError("\n".join(problems))
    with _locked(layout):
        if status(layout) is None:
            stop_node(layout)  # whatever a start or a cluster that was killed left
            kubernetes.write_certificates(layout)
            request.write(layout.request_file)
            _start(layout)

        def base_ready(now: dict[str, Any]) -> bool:
            return all(now["processes"].get(name, {}).get("ready") for name in BASE_PROCESSES)

        _wait(layout, base_ready, START_TIMEOUT_SECONDS)


def stop_node(layout: Layout) -> int:
    """Deletes the cluster; returns how many processes of it there were.

    Images, the artifact store and the model registry stay.
    """
    before = len(list(marked_processes(layout.node)))
    first = _first_process(layout)
    if first is not None:
        with contextlib.suppress(psutil.Error):
            first.terminate()
        psutil.wait_procs([first], timeout=GRACE_SECONDS)
    end_marked_processes(layout.node)
    _clear(layout)
    return before


def missing_of_the_machine() -> list[str]:
    """Says what this machine lacks to make a cluster of its own, and how to get it."""
    problems: list[str] = []
    if sys.platform != "linux":
        problems.append("the local cluster needs Linux: use a cluster of your own, such as kind")
    elif os.geteuid() != 0:
        problems.append(
            "the local cluster needs root, for namespaces and mounts: run it with sudo, "
            "use a cluster of your own, or the embedded target, which needs none"
        )
    problems += [
        f"{program} is not on PATH: install {package}"
        for program, package in (("unshare", "util-linux"), ("mount", "mount"), ("ip", "iproute2"))
        if shutil.which(program) is None
    ]
    return problems


def _first_process(layout: Layout) -> psutil.Process | None:
    """Returns the node's first process, with which all of it ends."""
    for process in marked_processes(layout.node):
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if NODE_MODULE in command and Path(command[0]).name != "unshare":
                return process
    return None


@contextlib.contextmanager
def _locked(layout: Layout) -> Generator[None]:
    layout.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeTargetError("another `modelramp local up --cluster` is running") from None
    with lock:
        yield


def _start(layout: Layout) -> None:
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / "node.log").open("ab") as output:
        outer = subprocess.Popen(
            (
                *("unshare", "--net", "--mount", "--pid", "--ipc", "--uts"),
                *("--fork", "--kill-child", "--mount-proc"),
                *(sys.executable, "-m", NODE_MODULE, str(layout.root)),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=layout.root,
            env={**os.environ, MARK: str(layout.node)},
            start_new_session=True,
        )
    give_up_at = time.monotonic() + 10
    while (first := _first_process(layout)) is None:
        if outer.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeTargetError(f"the node did not start; see {layout.logs / 'node.log'}")
        time.sleep(0.02)
    _ip(
        "link",
        "add",
        HOST_LINK,
        "type",
        "veth",
        "peer",
        "name",
        LINK,
        "netns",
        str(first.pid),
    )
    _ip("address", "add", f"{HOST_ADDRESS}/{NETWORK_BITS}", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")


def _wait(
    layout: Layout, reached: Callable[[dict[str, Any]], bool], timeout_seconds: float
) -> None:
    give_up_at = time.monotonic() + timeout_seconds
    now: dict[str, Any] | None = None
    while time.monotonic() < give_up_at:
        now = status(layout)
        if now is not None and reached(now):
            return
        time.sleep(POLL_SECONDS)
    processes = now["processes"] if now else {}
    waiting = [name for name, it in processes.items() if not it["ready"]]
    why = f"not ready: {', '.join(waiting)}" if waiting else "the node does not run"
    raise RuntimeTargetError(
        f"the local cluster did not come up within {timeout_seconds:g} s: {why}; "
        f"logs are in {layout.logs}"
    )


def _clear(layout: Layout) -> None:
    """Takes away what the kernel does not: files and control groups."""
    link = Path("/sys/class/net", HOST_LINK)
    give_up_at = time.monotonic() + LINK_GONE_SECONDS
    while link.exists() and time.monotonic() < give_up_at:  # goes with the other end, a bit later
        time.sleep(POLL_SECONDS)
    if link.exists():  # of a start that was killed before it had another end
        _ip("link", "delete", HOST_LINK)
    for hierarchy in (CGROUPS, *CGROUPS.iterdir()):
        _remove_groups(hierarchy / kubernetes.CGROUP.lstrip("/"))
    # Files of certificates, state and volumes; the logs tell what happened until the next start.
    shutil.rmtree(layout.node, ignore_errors=True)


def _remove_groups(folder: Path) -> None:
    """Removes a control group and those below it, which only `rmdir` can."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for child in folder.iterdir():
        _remove_groups(child)
    for _ in range(50):  # a process that was just killed still counts for a moment
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)


def _ip(*arguments: str) -> None:
    run(("ip", *arguments), folder=Path("/"), timeout_seconds=20)
