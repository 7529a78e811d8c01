"""The environment in which the real Pulumi CLI runs for the local stacks."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from local.home import Home
from local.tools import TOOLS, Progress, Silent, ensure
from models.errors import ToolError

_LANGUAGE_HOST = "pulumi-language-python"
_KUBERNETES = "pulumi-resource-kubernetes"
# -P keeps the engine's working directory, a user's folder, out of the module search.
_RUNS_OURS = b"-P -m local.plugins."
_HEAD_BYTES = 8192  # of an official plugin, which is 100 MB large


def pulumi_environment(
    home: Home, progress: Progress | None = None, *, kubeconfig: Path | None = None
) -> dict[str, str]:
    """Returns all environment variables for running `pulumi` on a local stack.

    State, selected stack and plugins stay in `.modelramp/`, apart from the user's own `~/.pulumi`,
    whose Kubernetes plugin is used if it has one. Where an official plugin cannot be had, a
    stand-in takes its place.

    Args:
        home: the project.
        progress: told what is fetched, should anything be missing.
        kubeconfig: which cluster, for stacks that have one; without it no cluster is found, not
            even the user's own.

    Raises:
        ToolError: the Pulumi CLI cannot be had.
    """
    progress = progress or Silent()
    pulumi = ensure("pulumi", progress)
    pulumi_home = home.path / "pulumi-home"
    plugins = pulumi_home / "plugins"
    _provide_language_host(plugins, pulumi)
    _provide_kubernetes(plugins, progress)
    for folder in (plugins, home.pulumi_state):
        folder.mkdir(parents=True, exist_ok=True)
    # Without one, the provider would look for a cluster in ~/.kube/config.
    no_kubeconfig = pulumi_home / "no-kubeconfig"
    no_kubeconfig.touch()

    environment = dict(os.environ)
    if shutil.which("pulumi") != str(pulumi):
        environment["PATH"] = f"{pulumi.parent}{os.pathsep}{environment.get('PATH', '')}"
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in environment:
        environment.setdefault("PULUMI_CONFIG_PASSPHRASE", "")
    return environment | {
        "KUBECONFIG": str(kubeconfig or no_kubeconfig),
        "PULUMI_BACKEND_URL": home.pulumi_state.as_uri(),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(pulumi_home),
        # Else the official language host asks for the plugin of every installed package: AWS too.
        "PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def is_stand_in(plugin: Path) -> bool:
    """Whether a plugin is a script of ours, rather than an official one."""
    try:
        with plugin.open("rb") as file:
            return _RUNS_OURS in file.read(_HEAD_BYTES)
    except OSError:  # a program that we may run, but not read
        return False


def _provide_language_host(plugins: Path, pulumi: Path) -> None:
    """The official one lies beside the CLI, unless that was built here."""
    beside = pulumi.resolve().parent / _LANGUAGE_HOST
    if not beside.exists() and shutil.which(_LANGUAGE_HOST) is None:
        folder = plugins / f"language-python-v{TOOLS['pulumi'].version}"
        _write_stand_in(folder / _LANGUAGE_HOST, "language_host")


def _provide_kubernetes(plugins: Path, progress: Progress) -> None:
    if shutil.which(_KUBERNETES) is not None:
        return  # the engine prefers it anyway
    name = f"resource-kubernetes-v{TOOLS[_KUBERNETES].version}"
    target = plugins / name / _KUBERNETES
    official = _users_plugins() / name / _KUBERNETES
    if not official.exists() and not target.exists():
        try:
            official = ensure(_KUBERNETES, progress)
        except ToolError:
            progress.note(
                "The official Kubernetes plugin cannot be had: a stand-in takes its place"
            )
    if official.exists() and official != target:  # the same, where this runs inside itself
        _replace(target, lambda path: path.symlink_to(official))
    elif not (target.is_symlink() and target.exists()):
        _write_stand_in(target, "kubernetes_provider")


def _users_plugins() -> Path:
    return Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"), "plugins")


def _write_stand_in(target: Path, module: str) -> None:
    python = shlex.quote(sys.executable)
    script = f'#!/bin/sh\nexec {python} {_RUNS_OURS.decode()}{module} "$@"\n'
    if target.is_symlink() or not target.exists() or target.read_text(encoding="utf-8") != script:

        def write(path: Path) -> None:
            path.write_text(script, encoding="utf-8")
            path.chmod(0o755)

        _replace(target, write)


def _replace(target: Path, make: Callable[[Path], None]) -> None:
    """Makes a file anew, whole or not at all, while another run may be using the old one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        new = Path(temporary, target.name)
        make(new)
        new.replace(target)
