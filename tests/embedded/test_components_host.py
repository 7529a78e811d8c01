# pyright: basic
"""The components in YAML and TypeScript: the examples, run by the real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from local.home import Home
from local.plugins.environment import pulumi_environment
from local.tools import TOOLS, ensure_all

pytestmark = pytest.mark.embedded

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "components"
PATH = "/v2/models/fraud/infer"
# Without the official language host for Node.js, as its Automation API runs programs.
UP = """
const { LocalWorkspace } = require("@pulumi/pulumi/automation");
const program = async () => require("./bin/index.js");
LocalWorkspace.createOrSelectStack(
    { stackName: "typescript", projectName: "fraud", program }, { workDir: process.cwd() })
    .then((stack) => stack.up())
    .then((done) => console.log(JSON.stringify(done.outputs)))
    .catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    languages = ensure_all(TOOLS["pulumi-language-yaml"])
    made = pulumi_environment(Home(tmp_path_factory.mktemp("home").resolve()))
    folder = languages["pulumi-language-yaml"].parent
    return {**made, "PATH": f"{folder}{os.pathsep}{made['PATH']}"}


@pytest.fixture(scope="module")
def yaml_manifests(environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    project = _copy("yaml", tmp_path_factory.mktemp("yaml"))
    _run(project, environment, "pulumi", "stack", "init", "yaml")
    _run(project, environment, "pulumi", "up", "--yes", "--skip-preview", "--non-interactive")
    assert _run(project, environment, "pulumi", "stack", "output", "path").strip() == PATH
    return _manifests(project)


def test_yaml(yaml_manifests) -> None:
    route = yaml_manifests["HTTPRoute fraud"]
    assert [it["weight"] for it in route["spec"]["rules"][-1]["backendRefs"]] == [95, 5]
    assert set(yaml_manifests) == {
        "HTTPRoute fraud",
        "HTTPRoute fraud.known",
        "InferenceService fraud-v1-4-0",
        "InferenceService fraud-v1-5-0",
        "NetworkPolicy fraud",
        "PodDisruptionBudget fraud-v1-4-0",
        "PodDisruptionBudget fraud-v1-5-0",
        "PrometheusRule fraud-alerts",
        "PrometheusRule fraud-declared",
        "ServingRuntime modelramp-mlflow",
    }


def test_yaml_with_wrong_arguments_says_what_is_wrong(environment, tmp_path: Path) -> None:
    project = _copy("yaml", tmp_path)
    text = (project / "Pulumi.yaml").read_text()
    wrong = text.replace("percent: 95", "percent: 90").replace("kind: canary", "kind: canari")
    (project / "Pulumi.yaml").write_text(wrong)
    _run(project, environment, "pulumi", "stack", "init", "wrong")
    told = _run(project, environment, "pulumi", "preview", "--non-interactive", expect=1)
    assert "percents must add up to 100, got 95" in told
    assert "must be one of canary, linear" in told
    assert "Traceback" not in told


def test_typescript_declares_the_same(environment, yaml_manifests, tmp_path: Path) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the TypeScript example cannot be built")
    project = _copy("typescript", tmp_path)
    sdk = ("gen-sdk", str(ROOT / "components"), "--language", "nodejs", "--local")
    _run(project, environment, "pulumi", "package", *sdk, "--out", "generated")
    (project / "sdks").mkdir()
    (project / "generated" / "nodejs").rename(project / "sdks" / "modelramp")
    # npm keeps what it fetches in the user's cache, and asks for it there first.
    _run(project, environment, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund")
    _run(project, environment, "npm", "run", "build")
    outputs = json.loads(_run(project, environment, "node", "-e", UP).splitlines()[-1])
    assert outputs["path"]["value"] == PATH
    assert _manifests(project) == yaml_manifests


def _copy(example: str, folder: Path) -> Path:
    """Copies an example, which then finds the components where they are."""
    project = folder.resolve() / example
    shutil.copytree(EXAMPLES / example, project, ignore=shutil.ignore_patterns("node_modules"))
    file = project / "Pulumi.yaml"
    text = file.read_text()
    assert text.count("../../../components") == 1
    file.write_text(text.replace("../../../components", str(ROOT / "components")))
    return project


def _run(project: Path, environment: dict[str, str], *command: str, expect: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == expect, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _manifests(project: Path) -> dict[str, object]:
    """Returns what was rendered, by kind and name."""
    found = [YAML(typ="safe").load(file) for file in (project / "manifests").rglob("*.yaml")]
    return {f"{it['kind']} {it['metadata']['name']}": it for it in found}
