# pyright: basic
"""The pack in the real engine: what is mandatory blocks and leaves everything as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.project import REPOSITORY, Project

pytestmark = pytest.mark.embedded

SERVICE = """\
      versions:
        "1.4.0": {{uri: "s3://models/biopsy/4", digest: "sha256:{four}", registry: "models:/b/4"}}
        "1.5.0": {{uri: "s3://models/biopsy/5", digest: "sha256:{five}", registry: "models:/b/5"}}
      rollout:
        stable: "1.4.0"
        candidate: "1.5.0"
        moves:
{moves}
      alerts:
"""
FORCED = {"stable-by-a-rollout": "advisory", "staging-evidence-present": "advisory"}
"""There is no log of a staging stack here."""


class Stack:
    """The local stack of a copied project, with a rollout, under the policies of production."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._shipped = project.file.read_text(encoding="utf-8").replace(
            "ruleInterval: 1s}", f'ruleInterval: 1s, serverImage: "server@sha256:{"a" * 64}"}}'
        )
        (project.root / "policies" / ".venv").symlink_to(REPOSITORY / "policies" / ".venv")
        file = project.root / "policies" / "config" / "prod.json"
        self._config = json.loads(file.read_text(encoding="utf-8")) | FORCED
        self._init()

    def _init(self) -> None:
        process = self.project.pulumi("stack", "init")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output

    def declare(self, *percents: int, risk: str = "high", more: str = "", replicas: int = 2):
        """Writes the stack file: the moves of biopsy, an hour between two."""
        moves = "\n".join(
            f'          - {{percent: {percent}, at: "2026-11-23T{8 + hour:02}:00:00Z"}}'
            for hour, percent in enumerate(percents)
        )
        rollout = SERVICE.format(moves=moves, four="4" * 64, five="5" * 64)
        text = self._shipped.replace("      alerts:\n", rollout, 1)
        text = text.replace("risk: medium", f"risk: {risk}\n      {more}".rstrip())
        text = text.replace("timeout: 10s}", f"timeout: 10s, replicas: {replicas}}}")
        self.project.file.write_text(text, encoding="utf-8")

    def run(self, command: str, *options: str, expect: int = 0, **config: object) -> str:
        """Runs `preview` or `up` with the pack; `config` changes policies of production."""
        file = self.project.root / "config.json"
        changed = {name.replace("_", "-"): it for name, it in config.items()}
        file.write_text(json.dumps(self._config | changed), encoding="utf-8")
        arguments = ("--policy-pack", "policies", "--policy-pack-config", str(file), *options)
        process = self.project.pulumi(command, *arguments)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == expect, output
        return output

    def rendered(self) -> dict[str, bytes]:
        """Returns the manifests that the embedded target runs."""
        folder = self.project.root / ".modelramp" / "manifests"
        return {str(it): it.read_bytes() for it in sorted(folder.rglob("*.yaml"))}

    def exported(self) -> dict:
        process = self.project.pulumi("stack", "export")
        output, _ = process.communicate(timeout=120)
        return json.loads(output)["deployment"].get("resources", [])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    root: Path = tmp_path_factory.mktemp("project").resolve()
    return Stack(Project(root, "local"))


def test_what_passes_goes_through(stack: Stack):
    stack.declare(5)
    assert "Policies:" in stack.run("preview")
    said = stack.run("up", "--yes")
    assert "[mandatory]" not in said
    assert any("biopsy" in name for name in stack.rendered())


@pytest.mark.parametrize(
    ("declared", "policy"),
    [
        ({"percents": (25,)}, "high-risk-first-step"),
        ({"percents": (5,), "more": "keepPrevious: {for: 1h}"}, "previous-version-kept"),
        ({"percents": (5,), "replicas": 1}, "at-least-two-replicas"),
    ],
)
@pytest.mark.parametrize("command", ["preview", "up"])
def test_a_mandatory_violation_blocks_and_leaves_everything_as_it_was(
    stack: Stack, command: str, declared: dict, policy: str
):
    before, state = stack.rendered(), stack.exported()
    options = dict(declared)
    stack.declare(*options.pop("percents"), **options)
    said = stack.run(command, *(("--yes",) if command == "up" else ()), expect=1)
    assert "[mandatory]" in said
    assert policy in said
    assert stack.rendered() == before
    assert stack.exported() == state


def test_advice_does_not_block(stack: Stack):
    stack.declare(25)
    said = stack.run("preview", high_risk_first_step="advisory")
    assert "[advisory]" in said
    assert "1.5.0 began with 25% of traffic" in said


def test_a_policy_is_configured(stack: Stack):
    stack.declare(25)
    level = {"enforcementLevel": "mandatory", "atMostPercent": 25}
    assert "high-risk-first-step" not in stack.run("preview", high_risk_first_step=level)


UNKNOWN = """
import pulumi_kubernetes as kubernetes

rendered = pulumi.ResourceOptions(
    provider=kubernetes.Provider(
        "raw", kubeconfig="", render_yaml_to_directory=str(ROOT / ".modelramp" / "raw")
    )
)
first = kubernetes.core.v1.ConfigMap("first", metadata={"namespace": "models"}, opts=rendered)
container = {
    "name": "tool",
    "image": first.id.apply(lambda it: "tool:1.0"),
    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
}
kubernetes.apiextensions.CustomResource(
    "second",
    api_version="batch/v1",
    kind="Job",
    metadata={"name": "second", "namespace": "models"},
    spec={"template": {"spec": {"containers": [container]}}},
    opts=rendered,
)
"""


def test_what_a_preview_cannot_know_is_said_and_stopped_by_up(stack: Stack):
    stack.declare(5)
    program = stack.project.root / "stacks" / "__main__.py"
    shipped = program.read_text(encoding="utf-8")
    program.write_text(shipped + UNKNOWN, encoding="utf-8")
    try:
        said = stack.run("preview")
        assert "could not be checked" in said
        assert "images-by-digest" in said
        assert "[mandatory]" not in said
        said = stack.run("up", "--yes", expect=1)
    finally:
        program.write_text(shipped, encoding="utf-8")
    assert "[mandatory]" in said
    assert "image is tool:1.0" in said
    made = [it.name for it in (stack.project.root / ".modelramp" / "raw").rglob("*.yaml")]
    assert any("first" in name for name in made)
    assert not any("second" in name for name in made)


def test_a_revert_passes_every_rule(stack: Stack):
    """After a rollout that the policies of production would not have let through."""
    stack.declare(25)
    stack.run("up", "--yes", high_risk_first_step="advisory")
    stack.declare(25, 0)
    said = stack.run("up", "--yes")
    assert "[mandatory]" not in said
    assert "policies" in said
    (file,) = [name for name in stack.rendered() if name.endswith("httproute-models-biopsy.yaml")]
    (*_, split) = YAML(typ="safe").load(Path(file))["spec"]["rules"]
    assert {it["name"]: it["weight"] for it in split["backendRefs"]} == {
        "biopsy-v1-4-0-predictor": 100,
        "biopsy-v1-5-0-predictor": 0,
    }
