# pyright: basic
"""The components as other languages see them: their schema, and what comes through the host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.__main__ import COMPONENTS
from components.host import Host
from local.home import Home
from local.plugins.environment import pulumi_environment
from tests.components.conftest import GOLDEN, record

ROOT = Path(__file__).parents[2]
CLASSES = {f"modelramp:index:{it.__name__}": it for it in COMPONENTS}
NOT_WHOLE = {"alert_routing", "artifact-s3-compatible"}
"""Golden files without the secrets that are required."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = subprocess.run(
        ["pulumi", "package", "get-schema", str(ROOT / "components")],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=pulumi_environment(Home(tmp_path_factory.mktemp("home"))),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_schema_is_current(schema, golden) -> None:
    golden("schema", schema)


def test_every_component_is_exported() -> None:
    texts = [file.read_text() for file in (ROOT / "components").glob("*.py")]
    tokens = {
        token for text in texts for token in re.findall(r'"(modelramp:index:\w+)", name', text)
    }
    assert tokens == set(CLASSES)


def test_everything_is_described_and_typed(schema) -> None:
    described = {**schema["types"], **schema["resources"]}
    assert len(schema["resources"]) == len(COMPONENTS)
    holes = [name for name, it in described.items() if not it.get("description")]
    for name, it in described.items():
        for kind in ("properties", "inputProperties"):
            for key, declared in it.get(kind, {}).items():
                if not declared.get("description") or "pulumi.json#" in json.dumps(declared):
                    holes.append(f"{name}.{key}")
    assert holes == []


def test_descriptions_are_no_code(schema) -> None:
    for name, resource in schema["resources"].items():
        assert "\n    " not in resource["description"], name


def test_requirements_are_those_of_the_project() -> None:
    lines = (ROOT / "components" / "requirements.txt").read_text().splitlines()
    required = {line for line in lines if not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert required <= set(project["dependencies"])
    # All that is imported beside the standard library is required, or comes with it.
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "components" / "__main__.py")],
        cwd=ROOT / "components",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    heavy = {"kserve", "mlflow", "numpy", "pandas", "scipy", "boto3", "httpx", "typer"}
    assert heavy.isdisjoint(modules)


def _recorded() -> Iterator[tuple[str, str]]:
    for file in sorted(GOLDEN.glob("*.json")):
        if file.stem in NOT_WHOLE | {"schema"}:
            continue
        for name, it in json.loads(file.read_text()).items():
            if isinstance(it, dict) and it.get("type") in CLASSES:
                yield file.stem, name


RECORDED = list(_recorded())


def test_each_component_is_recorded() -> None:
    files = {stem: json.loads((GOLDEN / f"{stem}.json").read_text()) for stem, _ in RECORDED}
    seen = {files[stem][name]["type"] for stem, name in RECORDED}
    without_integers = {"AlertRouting", "Dashboards", "MlflowRuntime"}
    assert seen >= set(CLASSES) - {f"modelramp:index:{it}" for it in without_integers}


@pytest.mark.parametrize(("stem", "name"), RECORDED)
def test_what_comes_through_the_host_makes_the_same(stem: str, name: str) -> None:
    golden = json.loads((GOLDEN / f"{stem}.json").read_text())
    component = CLASSES[golden[name]["type"]]
    provider = Host([component], "modelramp")
    definition = provider._component_defs[component.__name__]
    # As gRPC brings them: without integers.
    args: Any = provider.map_inputs(_floats(golden[name]["inputs"]), definition)
    children = record(lambda: component(name, args))
    del children[name]
    assert children
    for child, it in children.items():
        assert it["inputs"] == golden[child]["inputs"], child


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(it) for key, it in value.items()}
    if isinstance(value, list):
        return [_floats(it) for it in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
