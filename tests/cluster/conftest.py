# pyright: basic
"""The cluster that these tests run on: the local one, or one of the user's when asked for by name.

The local one is made anew and deleted at the end; one that is there already is not touched. Tests
that kill and delete take the fixture `project`, which is only to be had on the local one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from local.cluster import control
from local.cluster.kubectl import Kubectl
from local.cluster.layout import NODE_LABEL, Layout
from local.cluster.programs import NODE_TOOLS, ensure_programs
from local.commands import run
from local.tools import Silent
from tests.cluster.machine import machine_settings
from tests.project import Project

CONTEXT = "MODELRAMP_TEST_CONTEXT"


@pytest.fixture(scope="session")
def machine_before() -> dict[str, str]:
    """The machine before there is a cluster on it."""
    return machine_settings()


@pytest.fixture(scope="session")
def kubeconfig(
    request: pytest.FixtureRequest,
    machine_before: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Path]:
    """An administrator's kubeconfig."""
    context = os.environ.get(CONTEXT)
    if not context:
        if control.status() is not None:
            pytest.exit("these tests delete the local cluster: `modelramp local down --cluster`", 1)
        try:
            control.up(Silent())
            yield Layout.default().kubeconfig
        finally:
            control.down()
        return
    if not request.config.getoption("--yes-use-this-cluster"):
        pytest.exit(f"{CONTEXT} is {context}: add --yes-use-this-cluster if you mean it", 1)
    view = (_kubectl(), "config", "view", "--minify", "--flatten", f"--context={context}")
    file = tmp_path_factory.mktemp("context") / "kubeconfig"
    file.touch(0o600)
    file.write_text(run(view, folder=Path.cwd(), timeout_seconds=30))
    yield file


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    return Kubectl(_kubectl(), kubeconfig)


@pytest.fixture(scope="session")
def project(
    kubeconfig: Path, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project on the local cluster; what it deploys is gone with the cluster."""
    if not kubectl.get("nodes", f"--selector={NODE_LABEL}=true")["items"]:
        pytest.skip("kills and deletes, so it runs only on the cluster that is made here")
    return Project(tmp_path_factory.mktemp("project").resolve(), "cluster", kubeconfig)


def _kubectl() -> Path:
    found = shutil.which("kubectl")
    return Path(found) if found else ensure_programs(NODE_TOOLS, Silent())["kubectl"]
