# pyright: basic
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local import tools
from local.doctor import machine
from local.doctor.findings import State
from local.home import Home
from local.plugins import environment
from local.tools import TOOLS

PLUGIN = "pulumi-resource-kubernetes"
FOLDER = f"resource-kubernetes-v{TOOLS[PLUGIN].version}"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of our tools; returns the only folder on PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("nice", "sh", "env"):
        found = shutil.which(name)
        assert found
        (path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "users"))
    monkeypatch.setattr(tools, "cache_path", lambda: tmp_path / "cache")
    monkeypatch.setattr(tools, "_sources", lambda _: pytest.fail("something was to be fetched"))
    return path


def script(file: Path, says: str, code: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    file.chmod(0o755)
    return file


def stand_in(home: Home) -> Path:
    """Writes what `modelramp local env` writes where no official plugin can be had."""
    ours = home.path / "pulumi-home" / "plugins" / FOLDER / PLUGIN
    environment._write_stand_in(ours, "kubernetes_provider")
    return ours


def test_a_program_on_path_tells_its_version(bare: Path):
    file = script(bare / "pulumi", "v3.259.0")
    found = machine.program(machine.PULUMI, "pulumi")
    assert (found.state, found.saw) == (State.OK, f"3.259.0, {file}")


def test_a_program_in_the_cache_is_found(tmp_path: Path):
    folder = tmp_path / "cache" / "tools" / f"pulumi-{TOOLS['pulumi'].version}"
    script(folder / "pulumi", "v3.259.0")
    assert machine.program(machine.PULUMI, "pulumi").state is State.OK


def test_a_program_that_does_not_run_is_wrong(tmp_path: Path):
    folder = tmp_path / "cache" / "tools" / f"pulumi-{TOOLS['pulumi'].version}"
    script(folder / "pulumi", "no such library", code=1)
    assert machine.program(machine.PULUMI, "pulumi").state is State.WRONG


def test_what_can_be_had_is_a_warning_and_nothing_is_fetched():
    found = machine.program(machine.PULUMI, "pulumi")
    assert found.state is State.MISSING
    assert found.is_warning
    assert found.saw == "not here yet, but can be had: its release"


def test_how_it_can_be_had_depends_on_the_machine(bare: Path):
    script(bare / "go", "")
    script(bare / "apt-get", "")
    found = machine.program(machine.EMBEDDED_PROGRAMS["prometheus"], "prometheus")
    assert found.saw.endswith("its release or Debian's package or its Go module")


def test_what_comes_from_nowhere_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tools, "find_spec", lambda _: None)
    found = machine.program(machine.EMBEDDED_PROGRAMS["envoy"], "envoy")
    assert found.state is State.MISSING
    assert found.is_problem
    assert "envoy" in found.saw


def test_which_kubernetes_plugin_pulumi_uses(tmp_path: Path, bare: Path):
    home = Home(tmp_path / "project")
    assert machine.plugin(home).state is State.MISSING
    assert machine.plugin(home).is_warning
    stand_in(home)
    assert "our stand-in" in machine.plugin(home).saw
    users = script(tmp_path / "users" / "plugins" / FOLDER / PLUGIN, "")
    assert machine.plugin(home).saw == f"official, {users}"
    on_path = script(bare / PLUGIN, "")
    assert machine.plugin(home).saw == f"official, {on_path}"


def test_what_the_evaluated_environment_names_may_be_our_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = Home(tmp_path / "project")
    ours = stand_in(home)
    monkeypatch.setenv("PULUMI_HOME", str(home.path / "pulumi-home"))
    assert "our stand-in" in machine.plugin(home).saw
    ours.unlink()
    official = script(tmp_path / "official", "")
    ours.symlink_to(official)
    assert machine.plugin(home).saw == f"official, {ours}"
    official.unlink()
    assert machine.plugin(home).state is State.MISSING


def test_our_stand_in_is_no_official_one_wherever_it_lies(tmp_path: Path, bare: Path):
    home = Home(tmp_path / "project")
    ours = stand_in(home)
    users = tmp_path / "users" / "plugins" / FOLDER / PLUGIN
    users.parent.mkdir(parents=True)
    users.symlink_to(ours)
    assert "our stand-in" in machine.plugin(home).saw
    (bare / PLUGIN).symlink_to(ours)
    assert "our stand-in" in machine.plugin(home).saw


def test_a_linked_plugin_of_the_project_is_the_official_one(tmp_path: Path):
    home = Home(tmp_path / "project")
    ours = home.path / "pulumi-home" / "plugins" / FOLDER / PLUGIN
    ours.parent.mkdir(parents=True)
    ours.symlink_to(script(tmp_path / "official", ""))
    assert machine.plugin(home).saw == f"official, {ours}"


def test_a_machine_without_loopback(monkeypatch: pytest.MonkeyPatch):
    assert machine.loopback().state is State.OK

    def none() -> int:
        raise OSError("no free port on loopback")

    monkeypatch.setattr(machine, "free_port", none)
    assert machine.loopback().state is State.MISSING


def test_only_the_embedded_target_needs_its_programs(tmp_path: Path):
    home = Home(tmp_path / "project")
    names = {it.name for it in machine.checks(home, embedded=False)}
    assert names == {"Pulumi CLI", "Kubernetes plugin"}
    more = {it.name for it in machine.checks(home, embedded=True)}
    assert more - names == {"Envoy", "Prometheus program", "artifact store", "loopback ports"}
