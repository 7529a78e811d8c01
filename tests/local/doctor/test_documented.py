# pyright: basic
"""docs/clusters.md says of every check what doctor says."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import yaml

import local.doctor
from local.cluster import programs
from local.cluster.layout import Layout
from local.doctor import kubernetes
from local.doctor.findings import Requirement
from local.tools import TOOLS

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8")


def requirements() -> list[Requirement]:
    modules = [
        importlib.import_module(f"local.doctor.{it.name}")
        for it in pkgutil.iter_modules(local.doctor.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    values += [child for value in values if isinstance(value, dict) for child in value.values()]
    return [value for value in values if isinstance(value, Requirement)]


def test_every_check_has_a_line_and_every_line_a_check():
    section = TEXT[: TEXT.index("### Rights")]
    cells = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    lines = {name for cell in cells for name in cell.split(", ")} - {"check"}
    checks = {it.name + ("" if it.needed else " (warning)") for it in requirements()}
    assert lines == checks
    assert len(checks) > 30


def test_names_are_unique():
    made = {id(it): it.name for it in requirements()}
    assert len(made) == len(set(made.values()))


def test_every_section_that_a_remedy_names_is_there():
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    sources = [*(REPOSITORY / "local" / "doctor").glob("*.py"), REPOSITORY / "docs" / "clusters.md"]
    named = {
        anchor
        for source in sources
        for anchor in re.findall(r"(?:clusters\.md|\]\()#([a-z-]+)", source.read_text("utf-8"))
    }
    assert {"rights", "rights-to-look", "prometheus", "artifacts", "server-image"} <= named
    assert named <= anchors


def test_logs_are_where_it_says():
    place = Layout(Path("~/.cache/modelramp/cluster")).logs
    assert f"`{place}`" in TEXT
    assert kubernetes.LOCAL_NODE.remedy.endswith(f" {place}")


def test_every_variable_that_is_named_is_read():
    texts = [TEXT, (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")]
    named = {name for text in texts for name in re.findall(r"MODELRAMP_[A-Z_]+", text)}
    sources = [
        file.read_text(encoding="utf-8")
        for folder in ("local", "scripts", "tests")
        for file in (REPOSITORY / folder).rglob("*.py")
    ]
    assert named
    for name in named:
        assert any(f'"{name}"' in source for source in sources), name


def test_the_documented_role_gives_what_doctor_asks_for():
    section = TEXT[TEXT.index("### Rights\n") :]
    role = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    given = {group: rule for rule in role["rules"] for group in rule["apiGroups"]}
    assert {group: rule["resources"] for group, rule in given.items()} == {
        group: list(resources) for group, resources in kubernetes.WRITTEN.items()
    }
    for rule in role["rules"]:
        assert rule["verbs"] == list(kubernetes.VERBS)


def test_the_tested_versions_are_those_of_the_local_cluster():
    section = TEXT[TEXT.index("## Tested versions") : TEXT.index("## The local cluster")]
    etcd = next(tool for tool in programs.NODE_TOOLS if tool.name == "etcd")
    for version in (
        programs.KUBERNETES_VERSION,
        programs.KSERVE_VERSION,
        programs.ENVOY_GATEWAY_VERSION,
        programs.PROMETHEUS_OPERATOR_VERSION,
        TOOLS["envoy"].version,
        TOOLS["prometheus"].version,
        etcd.version,
    ):
        assert version in section
