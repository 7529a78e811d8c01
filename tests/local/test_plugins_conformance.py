"""One small program through whichever plugins are present: what it sees must not depend on them.

Without the official plugins this tests the stand-ins; with them on PATH (or in ~/.pulumi), them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.home import Home
from local.plugins.environment import pulumi_environment

pytestmark = pytest.mark.embedded

KUBERNETES = "pulumi-resource-kubernetes"
PROGRAM = """
import json
import pulumi
import pulumi_kubernetes as k8s

config = pulumi.Config()
render = k8s.Provider("render", render_yaml_to_directory=config.require("folder"))
opts = pulumi.ResourceOptions(provider=render)
namespace = k8s.core.v1.Namespace("models", metadata={"name": "models"}, opts=opts)
k8s.core.v1.ConfigMap(
    "edges",
    metadata={"name": config.get("edges") or "edges", "namespace": namespace.metadata["name"]},
    data={"edges.json": json.dumps([0.1, 0.2]), "yes": "no", "number": "1e3"},
    opts=opts,
)
k8s.core.v1.ConfigMap("unnamed", data={"a": "b"}, opts=opts)
k8s.apiextensions.CustomResource(
    "fraud-v1",
    api_version="serving.kserve.io/v1beta1",
    kind="InferenceService",
    metadata={
        "name": "fraud-v1-0-0",
        "namespace": namespace.metadata["name"],
        "labels": {"model-version": "1.0.0"},
    },
    spec={"predictor": {"minReplicas": 1, "model": {"storageUri": "s3://models/fraud/1"}}},
    opts=opts,
)
weight = config.require_int("weight")
route = k8s.apiextensions.CustomResource(
    "fraud",
    api_version="gateway.networking.k8s.io/v1",
    kind="HTTPRoute",
    metadata={
        "name": "fraud",
        "namespace": namespace.metadata["name"],
        "annotations": {"modelramp.dev/service": "fraud"},
    },
    spec={
        "rules": [
            {
                "backendRefs": [
                    {"name": "fraud-v1-0-0-predictor", "weight": 90},
                    {"name": "fraud-v1-1-0-predictor", "weight": weight},
                ]
            }
        ]
    },
    opts=opts,
)
if config.get("broken"):
    raise ValueError("this and that")
pulumi.export("route", route.metadata["name"])
pulumi.export("rules", route.spec["rules"])
"""
ROUTE = "gateway.networking.k8s.io_v1-httproute-models-fraud.yaml"
WEIGHT = "spec.rules[0].backendRefs[1].weight"
POLICIES = Path(__file__).parents[2] / "policies"


@dataclass(frozen=True)
class Project:
    """The program's folder, and the CLI that runs it."""

    home: Home
    environment: dict[str, str]

    @property
    def manifests(self) -> Path:
        return self.home.manifests / "1-manifest"

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs the CLI on the stack and returns its standard output."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.home.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def set(self, key: str, value: str) -> None:
        self.run("config", "set", key, value)

    def steps(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Previews, and returns the steps that change something, by resource name."""
        preview = json.loads(self.run("preview", "--json", "--diff", *arguments))
        return {
            step["urn"].rpartition("::")[2]: step
            for step in preview["steps"]
            if step["op"] != "same"
        }

    def up(self, *arguments: str) -> str:
        return self.run("up", "--skip-preview", "--yes", *arguments)

    def files(self) -> set[str]:
        return (
            {file.name for file in self.manifests.iterdir()} if self.manifests.exists() else set()
        )

    def modified(self) -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in self.manifests.iterdir()}

    def weight(self) -> int:
        route = yaml.safe_load((self.manifests / ROUTE).read_text())
        return route["spec"]["rules"][0]["backendRefs"][1]["weight"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "Pulumi.yaml").write_text(
        json.dumps(
            {
                "name": "conformance",
                "runtime": {
                    "name": "python",
                    "options": {"toolchain": "pip", "virtualenv": sys.prefix},
                },
            }
        )
    )
    (tmp_path / "__main__.py").write_text(PROGRAM)
    home = Home(tmp_path)
    project = Project(home, pulumi_environment(home))
    for name in ("pulumi-language-python", KUBERNETES):
        plugin = _plugin(project.environment, name)
        kind = "stand-in" if _is_stand_in(plugin) else "official"
        print(f"{name}: {kind}, {plugin or 'beside the CLI'}")  # noqa: T201 (pytest -s or -rA)
    project.run("stack", "init", "test")
    project.set("folder", str(home.manifests))
    project.set("weight", "5")
    yield project
    project.run("destroy", "--yes", "--skip-preview")


def _plugin(environment: dict[str, str], name: str) -> Path | None:
    """Returns the plugin that the engine will find; None is one in the CLI's own folder."""
    on_path = shutil.which(name, path=environment["PATH"])
    private = Path(environment["PULUMI_HOME"], "plugins").glob(f"*/{name}")
    return Path(on_path) if on_path else next(private, None)


def _is_stand_in(plugin: Path | None) -> bool:
    return plugin is not None and b"local.plugins." in plugin.read_bytes()[:500]


def test_preview_creates_nothing_and_up_renders_all(project: Project) -> None:
    steps = project.steps()
    assert {step["op"] for step in steps.values()} == {"create"}
    assert {"models", "edges", "unnamed", "fraud-v1", "fraud"} <= set(steps)
    assert not project.home.manifests.exists()

    project.up()

    unnamed = next(name for name in project.files() if "unnamed" in name)
    assert project.files() == {
        "v1-namespace-default-models.yaml",
        "v1-configmap-models-edges.yaml",
        unnamed,
        "serving.kserve.io_v1beta1-inferenceservice-models-fraud-v1-0-0.yaml",
        ROUTE,
    }
    edges = yaml.safe_load((project.manifests / "v1-configmap-models-edges.yaml").read_text())
    assert edges["data"] == {"edges.json": "[0.1, 0.2]", "yes": "no", "number": "1e3"}
    assert edges["metadata"] == {"name": "edges", "namespace": "models"}
    metadata = yaml.safe_load((project.manifests / unnamed).read_text())["metadata"]
    assert metadata["namespace"] == "default"
    assert metadata["annotations"] == {"pulumi.com/autonamed": "true"}
    assert yaml.safe_load((project.manifests / ROUTE).read_text()) == {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": "fraud",
            "namespace": "models",
            "annotations": {"modelramp.dev/service": "fraud"},
        },
        "spec": {
            "rules": [
                {
                    "backendRefs": [
                        {"name": "fraud-v1-0-0-predictor", "weight": 90},
                        {"name": "fraud-v1-1-0-predictor", "weight": 5},
                    ]
                }
            ]
        },
    }
    outputs = json.loads(project.run("stack", "output", "--json"))
    assert outputs["route"] == "fraud"
    assert outputs["rules"][0]["backendRefs"][1]["weight"] == 5
    ids = {
        resource["urn"].rpartition("::")[2]: resource.get("id")
        for resource in json.loads(project.run("stack", "export"))["deployment"]["resources"]
    }
    assert ids["models"] == "models"
    assert ids["fraud"] == "models/fraud"
    assert project.steps() == {}


def test_changed_weight_is_one_field_and_one_file(project: Project) -> None:
    project.up()
    before = project.modified()
    project.set("weight", "25")

    steps = project.steps()
    assert set(steps) == {"fraud"}
    assert steps["fraud"]["op"] == "update"
    assert steps["fraud"]["detailedDiff"] == {WEIGHT: {"kind": "update", "inputDiff": False}}
    assert project.modified() == before

    started = time.monotonic()
    project.up()
    print(f"up of one field: {time.monotonic() - started:.1f} s")  # noqa: T201
    assert {name for name, at in project.modified().items() if at != before[name]} == {ROUTE}
    assert project.weight() == 25


def test_renamed_object_is_replaced(project: Project) -> None:
    project.up()
    project.set("edges", "buckets")

    steps = project.steps()
    assert steps["edges"]["replaceReasons"] == ["metadata.name"]
    project.up()
    assert "v1-configmap-models-buckets.yaml" in project.files()
    assert "v1-configmap-models-edges.yaml" not in project.files()


def test_destroy_removes_the_files(project: Project) -> None:
    project.up()
    project.run("destroy", "--yes", "--skip-preview")
    assert project.files() == set()


def test_exception_of_the_program_is_shown_once(project: Project) -> None:
    project.set("broken", "yes")
    output = project.run("preview", code=1)
    assert output.count("ValueError: this and that") == 1
    assert "__main__.py" in output
    assert "local/plugins" not in output


def test_policy_pack_advises_and_in_production_blocks(project: Project) -> None:
    pack = ("--policy-pack", str(POLICIES))
    advised = project.run("preview", *pack)
    assert re.search(r"\[advisory\].* no-raw-route-to-a-model ", advised)

    config = ("--policy-pack-config", str(POLICIES / "config" / "prod.json"))
    blocked = project.run("preview", *pack, *config, code=1)
    assert re.search(r"\[mandatory\].* no-raw-route-to-a-model ", blocked)
    assert "modelramp.dev/stable is missing" in blocked
    assert project.files() == set()


def test_refresh_sees_what_others_did(project: Project) -> None:
    project.up()
    if not _is_stand_in(_plugin(project.environment, KUBERNETES)):
        # It looks for the objects in a cluster; the files are write-only to it.
        project.run("refresh", "--yes", "--skip-preview", code=255)
        return
    route = project.manifests / ROUTE
    route.write_text(route.read_text().replace("weight: 5", "weight: 50"))
    (project.manifests / "v1-configmap-models-edges.yaml").unlink()

    project.run("refresh", "--yes", "--skip-preview")

    steps = project.steps()
    assert set(steps) == {"fraud", "edges"}
    assert steps["edges"]["op"] == "create"
    assert set(steps["fraud"]["detailedDiff"]) == {WEIGHT}
    project.up()
    assert project.weight() == 5
    assert "v1-configmap-models-edges.yaml" in project.files()
