"""Starts, watches, restarts and ends the processes of the local targets.

Every process carries our mark in its environment, so that whatever was killed before, each one
that is left can be found and ended without a pid file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import structlog

log = structlog.get_logger()

MARK = "MODELRAMP_HOME"
"""Environment variable of each of our processes: the path of the folder it belongs to."""

LONGEST_BACKOFF_SECONDS = 30.0
STABLE_AFTER_SECONDS = 30.0
PROBE_TIMEOUT_SECONDS = 2.0
UNREADY_AFTER_FAILURES = 3
PROBE_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessSpec:
    """A process that should run.

    Attributes:
        name: unique; also the name of its log file.
        command: program and arguments.
        env: added to the environment of the supervisor.
        ready_url: answers 200 once the process is ready; None: ready as soon as it runs.
        grace_seconds: from SIGTERM to SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    ready_url: str | None = None
    grace_seconds: float = 10.0


class Process:
    """One running process and what is known of it."""

    def __init__(self, spec: ProcessSpec, home: Path) -> None:
        self.spec = spec
        self.ready = False
        self.restarts = 0
        self._home = home
        self._popen: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_after = 0.0
        self._failed_probes = 0
        self._probe_after = 0.0
        self._stopping_since: float | None = None

    @property
    def log_file(self) -> Path:
        """What the process prints."""
        return self._home / "logs" / f"{self.spec.name}.log"

    @property
    def pid(self) -> int | None:
        """The process's number while it runs or its end was not noticed yet."""
        return self._popen.pid if self._popen else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._popen is not None and self._popen.poll() is None

    def tick(self, client: httpx.Client) -> None:
        """Starts the process if it should run and does not; asks whether it is ready."""
        now = time.monotonic()
        if not self.alive:
            if self._popen is not None:
                self._note_exit(now)
            if now >= self._start_after:
                self._start(now)
            return
        if self.spec.ready_url is None:
            self.ready = True
            return
        if now < self._probe_after:
            return
        if _answers(client, self.spec.ready_url):
            self.ready, self._failed_probes = True, 0
            self._probe_after = now + PROBE_EVERY_SECONDS
        else:
            self._failed_probes += 1
            self.ready = self.ready and self._failed_probes < UNREADY_AFTER_FAILURES

    def stop(self) -> bool:
        """Asks the process to end, kills it after its grace; returns whether it has ended."""
        self.ready = False
        if not self.alive or self._popen is None:
            return True
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            _signal_group(self._popen.pid, signal.SIGTERM)
        elif now - self._stopping_since > self.spec.grace_seconds:
            _signal_group(self._popen.pid, signal.SIGKILL)
        return self._popen.poll() is not None

    def last_lines(self, count: int) -> str:
        """Returns the end of the log, for an error message."""
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-count:])

    def _start(self, now: float) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.spec.env, MARK: str(self._home)}
        with self.log_file.open("ab") as output:
            self._popen = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self._home.parent,
                start_new_session=True,
            )
        self._started_at = now
        self._failed_probes = 0
        log.info("started", process=self.spec.name, pid=self._popen.pid)

    def _note_exit(self, now: float) -> None:
        code = self._popen.returncode if self._popen else None
        lived = now - self._started_at
        self.restarts = 0 if lived > STABLE_AFTER_SECONDS else self.restarts + 1
        backoff = min(LONGEST_BACKOFF_SECONDS, 0.5 * 2**self.restarts)
        self._start_after = now + backoff
        self._popen, self.ready = None, False
        log.warning("exited", process=self.spec.name, code=code, restart_in_seconds=backoff)


class Supervisor:
    """Keeps a set of processes running.

    Args:
        home: the folder they belong to; their logs lie in its `logs`.
        verify: how the certificates of ready URLs are checked.
    """

    def __init__(self, home: Path, verify: ssl.SSLContext | bool = True) -> None:
        self.processes: dict[str, Process] = {}
        self._ending: list[Process] = []
        self._home = home
        self._client = httpx.Client(timeout=PROBE_TIMEOUT_SECONDS, trust_env=False, verify=verify)

    def apply(self, specs: Iterable[ProcessSpec]) -> None:
        """Makes `specs` the processes that should run; a changed one is replaced."""
        wanted = {spec.name: spec for spec in specs}
        for name, process in list(self.processes.items()):
            if wanted.get(name) != process.spec:
                self._ending.append(self.processes.pop(name))
        for name, spec in wanted.items():
            if name not in self.processes:
                self.processes[name] = Process(spec, self._home)

    def tick(self) -> None:
        """One round: end what should end, start what should run, probe what runs."""
        self.end()
        busy = {process.spec.name for process in self._ending}
        for name, process in self.processes.items():
            if name not in busy:
                process.tick(self._client)

    @property
    def ending(self) -> bool:
        """Whether processes that should have ended still run."""
        return bool(self._ending)

    def end(self) -> None:
        """Asks what should end to end, and kills it after its grace."""
        self._ending = [process for process in self._ending if not process.stop()]

    def is_ready(self, name: str) -> bool:
        """Whether the process of this name runs and answered its last probes."""
        process = self.processes.get(name)
        return process is not None and process.alive and process.ready

    def shutdown(self) -> None:
        """Ends every process, each with its grace."""
        self.apply([])
        while self.ending:
            self.end()
            time.sleep(0.05)
        self._client.close()


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Each process leads a group of its own: MLflow, for one, has children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False


def marked_processes(home: Path) -> Iterator[psutil.Process]:
    """Yields every process that belongs to this `.modelramp`, except the caller's own."""
    own = os.getpid()
    for process in psutil.process_iter():
        try:
            if process.pid != own and process.environ().get(MARK) == str(home):
                yield process
        except (psutil.Error, OSError):
            continue  # somebody else's process, or gone meanwhile


def end_marked_processes(home: Path, grace_seconds: float = 10.0) -> int:
    """Ends whatever runs for this `.modelramp`; returns how many processes there were."""
    found = list(marked_processes(home))
    for process in found:
        _quietly(process.terminate)
    _, left = psutil.wait_procs(found, timeout=grace_seconds)
    for process in left:
        _quietly(process.kill)
    psutil.wait_procs(left, timeout=grace_seconds)
    return len(found)


def _quietly(action: Callable[[], object]) -> None:
    with contextlib.suppress(psutil.Error):
        action()


def free_port(preferred: int | None = None) -> int:
    """Returns a free TCP port on loopback: the preferred one if it can be had."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


def python(*arguments: str) -> tuple[str, ...]:
    """Returns a command of this environment's Python."""
    return (sys.executable, *arguments)
