"""The node: the first process of namespaces of its own, `python -m local.cluster.node`.

Processes, mounts, network devices and firewall rules of the cluster exist only in here, so that the
kernel takes all of them away when this process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from local import stores
from local.cluster import container_runtime, kubernetes
from local.cluster.layout import (
    HOST_ADDRESS,
    MLFLOW_PORT,
    NETWORK_BITS,
    NODE_ADDRESS,
    STORE_PORT,
    Layout,
    address,
)
from local.commands import run
from local.files import write_json, write_text
from local.processes import ProcessSpec, Supervisor

log = structlog.get_logger()

TICK_SECONDS = 0.25
LINK = "eth0"
LINK_TIMEOUT_SECONDS = 20.0
CGROUPS = Path("/sys/fs/cgroup")
KUBELET_SETTINGS = {
    "kernel/keys/root_maxbytes": 25_000_000,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
}
"""What the kubelet would set for the whole machine (its `setupKernelTunables`), by `/proc/sys`."""


@dataclass(frozen=True)
class Request:
    """What a node is started with.

    Attributes:
        programs: what the node runs, by name.
        pause: reference of the image that every pod begins with.
    """

    programs: Mapping[str, Path]
    pause: str

    def write(self, file: Path) -> None:
        """Writes the request for the node to read."""
        programs = {name: str(path) for name, path in self.programs.items()}
        write_json(file, {"pause": self.pause, "programs": programs})

    @classmethod
    def read(cls, file: Path) -> Request:
        """Reads what `write` wrote."""
        content = json.loads(file.read_text())
        programs = {name: Path(path) for name, path in content["programs"].items()}
        return cls(programs, content["pause"])


class Node:
    """Keeps the node's processes running and says how they are."""

    def __init__(self, layout: Layout, request: Request) -> None:
        self._layout = layout
        self._request = request
        trust = ssl.create_default_context(cafile=str(layout.authority))
        self._supervisor = Supervisor(layout.root, trust)
        self._stopping = threading.Event()
        self._bucket_made = False
        self._error: str | None = None
        self._status: dict[str, Any] = {}

    def run(self) -> None:
        """Supervises until `stop`."""
        try:
            while not self._stopping.is_set():
                self._supervisor.apply(self._specs())
                self._supervisor.tick()
                _reap({process.pid for process in self._supervisor.processes.values()})
                self._make_bucket()
                self._write_status()
                self._stopping.wait(TICK_SECONDS)
        finally:
            self._layout.status_file.unlink(missing_ok=True)
            # What holds data ends in good order; the rest ends with this process.
            self._supervisor.apply(
                spec for spec in self._specs() if spec.name not in {"store", "mlflow"}
            )
            give_up_at = time.monotonic() + 5
            while self._supervisor.ending and time.monotonic() < give_up_at:
                self._supervisor.end()
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends `run` soon; safe to call from a signal handler."""
        self._stopping.set()

    def _specs(self) -> Iterator[ProcessSpec]:
        layout, programs, data = self._layout, self._request.programs, self._layout.data
        ready = self._supervisor.is_ready
        yield container_runtime.containerd_process(layout, programs)
        yield kubernetes.etcd_process(layout, programs)
        yield stores.store_process(data, programs["versitygw"], address(STORE_PORT))
        if self._bucket_made:
            yield stores.registry_process(data, address(MLFLOW_PORT), address(STORE_PORT))
        names = self._supervisor.processes
        if "apiserver" in names or ready("etcd"):
            yield kubernetes.api_server_process(layout, programs)
        # Once started they stay, whatever becomes of the API server.
        if "kubelet" in names or ready("apiserver"):
            yield from kubernetes.control_processes(layout, programs)

    def _make_bucket(self) -> None:
        if not self._bucket_made and self._supervisor.is_ready("store"):
            try:
                stores.ensure_bucket(self._layout.data, address(STORE_PORT))
                self._bucket_made, self._error = True, None
            except (BotoCoreError, ClientError) as error:
                self._error = f"no artifact bucket: {error}"

    def _write_status(self) -> None:
        status = {
            "error": self._error,
            "processes": {
                name: {"ready": self._supervisor.is_ready(name), "restarts": process.restarts}
                for name, process in self._supervisor.processes.items()
            },
        }
        if status != self._status:
            write_json(self._layout.status_file, status)
            self._status = status


def _reap(own: set[int | None]) -> None:
    """Collects the exit codes of orphans, which become children of the first process."""
    with suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in own:
                return  # the supervisor's; the orphans behind it have to wait for that
            os.waitpid(found.si_pid, os.WNOHANG)


def prepare(layout: Layout, request: Request) -> None:
    """Sets up mounts, network and control groups, and writes all configuration."""
    _prepare_mounts(layout)
    _prepare_network()
    prepare_control_groups()
    write_text(layout.config / "resolv.conf", "")
    kubernetes.write_configuration(layout)
    container_runtime.write_configuration(layout, request.programs, request.pause)


def _prepare_mounts(layout: Layout) -> None:
    # Mounts of pods must reach the kubelet and the runtime, but never the machine.
    _run("mount", "--make-rslave", "/")
    _run("mount", "--make-rshared", "/")
    for folder in ("/run", "/var/log"):
        _run("mount", "-t", "tmpfs", "modelramp", folder)
    # Kubelet and runtime also write to paths that cannot be set, some of them another kubelet's.
    for folder in (Path("/opt"), Path("/usr/libexec"), Path("/var/lib")):
        if folder.is_dir() and not layout.root.is_relative_to(folder):
            _run("mount", "-t", "overlay", "modelramp", str(folder), "-o", _copy_on_write(folder))
    _keep_settings(layout.config / "settings")


def _copy_on_write(folder: Path) -> str:
    """Returns the options of an overlay whose changes lie in memory."""
    changes = Path("/run/modelramp", folder.name)
    for name in ("upper", "work"):
        (changes / name).mkdir(parents=True)
    return f"lowerdir={folder},upperdir={changes / 'upper'},workdir={changes / 'work'}"


def _keep_settings(copies: Path) -> None:
    """Shows the kubelet the kernel settings it wants, so that it does not change the machine's."""
    for name, value in KUBELET_SETTINGS.items():
        setting = Path("/proc/sys", name)
        if setting.exists():
            copy = copies / name.replace("/", ".")
            write_text(copy, f"{value}\n")
            _run("mount", "--bind", str(copy), str(setting))


def _prepare_network() -> None:
    give_up_at = time.monotonic() + LINK_TIMEOUT_SECONDS
    while not Path("/proc/sys/net/ipv4/conf", LINK).exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{LINK} was not given to the node")
        time.sleep(0.05)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/{NETWORK_BITS}", "dev", LINK)
    _run("ip", "link", "set", LINK, "up")
    _run("ip", "route", "add", "default", "via", HOST_ADDRESS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():  # a pod that reaches itself or its neighbour by a Service
        bridged.write_text("1")


def prepare_control_groups(root: Path = CGROUPS) -> None:
    """Makes the group of all pods, in every hierarchy of version 1 or in the one of version 2."""
    name = kubernetes.CGROUP.lstrip("/")
    if (root / "cgroup.controllers").exists():
        _enable_controllers(root)
        (root / name).mkdir(exist_ok=True)
        _enable_controllers(root / name)
        return
    for hierarchy in root.iterdir():
        if hierarchy.is_dir() and not hierarchy.is_symlink():
            (hierarchy / name).mkdir(exist_ok=True)
    # A new group of processors starts empty, and a pod in it could not run.
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (root / "cpuset" / file).exists():
            (root / "cpuset" / name / file).write_text((root / "cpuset" / file).read_text())


def _enable_controllers(group: Path) -> None:
    """Hands a group's controllers of version 2 on to the groups below it."""
    for controller in (group / "cgroup.controllers").read_text().split():
        with suppress(OSError):  # one that cannot be handed on is one that pods do without
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _run(*command: str) -> None:
    run(command, folder=Path("/"), timeout_seconds=20)


def main() -> int:
    """Runs the node until SIGTERM."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ]
    )
    layout = Layout(Path(sys.argv[1]))
    request = Request.read(layout.request_file)
    prepare(layout, request)
    # runc, iptables and the plugins are called by name.
    folders = {str(path.parent) for path in request.programs.values()}
    os.environ["PATH"] = os.pathsep.join([*sorted(folders), os.environ["PATH"]])
    node = Node(layout, request)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    node.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
