"""The machine's side of the node: starts it, ends it, and takes away what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
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
LOCK = Path("/run/lock/modelramp-cluster.lock")
"""Of the machine, whoever's cluster it is: there is one network device."""

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
START_TIMEOUT_SECONDS = 120.0
LINK_GONE_SECONDS = 5.0
BASE_PROCESSES = ("containerd", "etcd", "apiserver", "kubelet", "proxy", "store", "mlflow")


def status(layout: Layout) -> dict[str, Any] | None:
    """Returns what runs on the node, or None when there is no cluster."""
    return None if _first_process(layout) is None else _read_status(layout)


def _read_status(layout: Layout) -> dict[str, Any] | None:
    try:
        return json.loads(layout.status_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


@contextlib.contextmanager
def locked() -> Generator[None]:
    """Keeps others from starting or ending a cluster on this machine meanwhile.

    Raises:
        RuntimeTargetError: somebody is at it, or the machine cannot have a cluster.
    """
    if problems := missing_of_the_machine():
        raise RuntimeTargetError("\n".join(problems))
    lock = FileLock(LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeTargetError(
            "another `modelramp` is starting or ending the local cluster; try again when it is done"
        ) from None
    with lock:
        yield


def start_node(layout: Layout, request: Request) -> None:
    """Starts the node if it does not run, and waits for its base processes.

    What a killed cluster left behind is taken away first. To be called under `locked`.

    Raises:
        RuntimeTargetError: another cluster runs on this machine, this one runs other programs, or
            it did not come up in time.
    """
    if status(layout) is None:
        if (owner := _other_cluster(layout)) is not None:
            raise RuntimeTargetError(
                f"a local cluster of {owner} runs on this machine, which can have one only: "
                "end it with `modelramp local down --cluster` as its user"
            )
        stop_node(layout)
        shutil.rmtree(layout.logs, ignore_errors=True)
        kubernetes.write_certificates(layout)
        request.write(layout.request_file)
        _start(layout)
    elif Request.read(layout.request_file) != request:
        raise RuntimeTargetError(
            "the local cluster runs other versions of its programs: "
            "`modelramp local down --cluster`, then up again"
        )
    _connect(layout)
    _wait(layout)


def stop_node(layout: Layout) -> int:
    """Deletes the cluster; returns how many processes of it there were.

    To be called under `locked`.
    """
    before = len(list(marked_processes(layout.root)))
    first = _first_process(layout)
    if first is not None:
        with contextlib.suppress(psutil.Error):
            first.terminate()
        psutil.wait_procs([first], timeout=GRACE_SECONDS)
    end_marked_processes(layout.root)
    if _other_cluster(layout) is None:
        _clear_machine()
    # Certificates, state and volumes; the logs tell what happened until the next start.
    shutil.rmtree(layout.node, ignore_errors=True)
    return before


def missing_of_the_machine() -> list[str]:
    """Says what this machine lacks to have a cluster of its own, and how to get it."""
    if sys.platform != "linux":
        return ["the local cluster needs Linux: use a cluster of your own, such as kind"]
    problems: list[str] = []
    if os.geteuid() != 0:
        problems.append(
            "the local cluster needs root, for namespaces and mounts: run it in a root shell, "
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
    return next(filter(_is_first, marked_processes(layout.root)), None)


def _is_first(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
        return NODE_MODULE in command and Path(command[0]).name != "unshare"
    except psutil.Error:
        return False


def _other_cluster(layout: Layout) -> str | None:
    """Returns the folder of a cluster that runs here for another user or cache folder."""
    for process in filter(_is_first, psutil.process_iter()):
        with contextlib.suppress(psutil.Error):
            folder = process.environ().get(MARK)
            if folder and folder != str(layout.root):
                return folder
    return None


def _start(layout: Layout) -> None:
    layout.logs.mkdir(parents=True, exist_ok=True)
    # Daemons keep their environment as long as they live: none of the caller's keys and proxies.
    kept = ("HOME", "LANG", "PATH", "PYTHONPATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
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
            env={**environment, MARK: str(layout.root)},
            start_new_session=True,
        )
    give_up_at = time.monotonic() + 10
    while _first_process(layout) is None:
        if outer.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeTargetError(f"the node did not start: {_last_words(layout)}")
        time.sleep(0.02)


def _connect(layout: Layout) -> None:
    """Joins the node's network to the machine's; does what a killed start has left undone.

    The node goes on as soon as its end of the link is there, whether or not this end is ready:
    without it the node's address would be looked for outside of this machine.
    """
    if not Path("/sys/class/net", HOST_LINK).exists():
        if (first := _first_process(layout)) is None:
            raise RuntimeTargetError(f"the node has ended: {_last_words(layout)}")
        peer = ("peer", "name", LINK, "netns", str(first.pid))
        _ip("link", "add", HOST_LINK, "type", "veth", *peer)
    _ip("address", "replace", f"{HOST_ADDRESS}/{NETWORK_BITS}", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")


def _wait(layout: Layout) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
    waiting = list(BASE_PROCESSES)
    while waiting:
        if _first_process(layout) is None:
            raise RuntimeTargetError(f"the node has ended: {_last_words(layout)}")
        if time.monotonic() > give_up_at:
            raise RuntimeTargetError(
                f"not ready within {START_TIMEOUT_SECONDS:g} s: {', '.join(waiting)}; "
                f"logs are in {layout.logs}"
            )
        time.sleep(POLL_SECONDS)
        processes = (_read_status(layout) or {"processes": {}})["processes"]
        waiting = [name for name in BASE_PROCESSES if not processes.get(name, {}).get("ready")]


def _last_words(layout: Layout) -> str:
    log = layout.logs / "node.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([*lines[-5:], f"logs are in {layout.logs}"])


def _clear_machine() -> None:
    """Takes away what the kernel leaves of a node that has ended."""
    link = Path("/sys/class/net", HOST_LINK)
    give_up_at = time.monotonic() + LINK_GONE_SECONDS
    while link.exists() and time.monotonic() < give_up_at:  # goes with the other end, a bit later
        time.sleep(POLL_SECONDS)
    if link.exists():  # of a start that was killed before it had another end
        _ip("link", "delete", HOST_LINK)
    for hierarchy in (CGROUPS, *CGROUPS.iterdir()):
        _remove_groups(hierarchy / kubernetes.CGROUP.lstrip("/"))


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
