# pyright: basic
"""Programs and stack files become resources, and all policies are run on them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pulumi

from components.stack import declare_stack
from models.stack import parse_stack
from tests.components.conftest import record
from tests.policies.raw import DIGEST, Resources

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / "policies" / ".venv" / "bin" / "python"
Program = Callable[[], object]

ARTIFACTS = "modelramp:artifacts: {provider: aws, bucket: acme-models}"
POOL = "{provider: eks, instanceTypes: [g5.xlarge], min: 1, max: 4}"


def version(service: str, number: str, figure: str) -> str:
    """Returns the declaration of a version, whose digest is a figure, 64 times."""
    uri = f"s3://acme-models/{service}/{figure}"
    registry = f"models:/{service}/{figure}"
    digest = f"sha256:{figure * 64}"
    return f'"{number}": {{uri: "{uri}", digest: "{digest}", registry: "{registry}"}}'


FRAUD = f"""
    fraud:
      owner: payments-ml
      risk: high
      group: payments
      runtime: {{kind: mlflow, replicas: 4}}
      versions:
        {version("fraud", "1.4.0", "4")}
        {version("fraud", "1.5.0", "5")}
      strategy: {{kind: canary, steps: [1, 5, 25, 50, 100], bake: 30m}}
      slo: {{errorRate: 0.01, latency: {{thresholdMs: 250, share: 0.99}}, accuracy: 0.9}}
      gates: {{staging: {{stack: staging}}}}
      card: {{purpose: p, data: d, limits: l, contact: payments-ml@example.com}}
      rollout:
        stable: "1.4.0"
        candidate: "1.5.0"
        moves:
          - {{percent: 1, at: "2026-11-23T08:00:00Z"}}
"""
PAYOUT = f"""
    payout:
      owner: payments-ml
      risk: medium
      group: payments
      runtime: {{kind: xgboost, replicas: 2}}
      versions:
        {version("payout", "2.0.0", "1")}
        {version("payout", "2.1.0", "2")}
      strategy: {{kind: linear, increment: 25}}
      slo: {{errorRate: 0.01, latency: {{thresholdMs: 250, share: 0.99}}}}
      rollout: {{stable: "2.0.0"}}
"""
CHAT = f"""
    chat:
      owner: support-ml
      risk: medium
      runtime: {{kind: vllm, replicas: 2, gpu: {{pool: a10g}}, memory: 24Gi}}
      versions:
        {version("chat", "1.0.0", "c")}
      strategy: {{kind: blue-green}}
      slo: {{errorRate: 0.02, latency: {{thresholdMs: 10000, share: 0.95}}}}
      rollout: {{stable: "1.0.0"}}
"""
BUSY = (
    'rollout: {stable: "2.0.0", candidate: "2.1.0", moves: ['
    '{percent: 25, at: "2026-11-23T07:00:00Z"}]}'
)
"""The rollout of payout, under way."""


def stack_file(*services: str, more: str = "", pools: str = "") -> str:
    """Returns a stack file for production with some services."""
    return f"""
config:
  modelramp:cluster:
    target: eks
    namespace: models
    gateway: gateway/models
    prometheus: http://prometheus:9090
    serverImage: modelramp/server@{DIGEST}
  modelramp:aws:
    region: eu-central-1
    accountId: "333333333333"
    eks: {{cluster: models, subnetIds: [subnet-0a1b2c3d4e5f60021]}}
  modelramp:gpuPools: {{{pools}}}
  {more}
  modelramp:services:
{"".join(services)}
"""


@cache
def declared(text: str) -> Resources:
    """Returns the resources of a stack file; nobody changes them in place."""
    stack = parse_stack(text, "Pulumi.prod.yaml")
    return made_by(lambda: declare_stack(stack, pulumi.Output.secret, REPOSITORY))


def made_by(program: Program) -> Resources:
    """Returns the resources that a program makes."""
    return [
        {
            "type": it["type"],
            "name": name.rpartition(" ")[2],
            "props": it["inputs"],
            "protect": it["options"].get("protect", False),
        }
        for name, it in record(program).items()
    ]


def edited(resources: Resources, name: str, edit: Callable[[dict[str, Any]], object]) -> Resources:
    """Returns resources of which one was edited: as if others had declared it raw."""
    copied = json.loads(json.dumps(resources))
    (found,) = [it for it in copied if it["name"] == name]
    edit(found)
    return copied


def findings(stacks: Mapping[str, Resources], history: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns what the policies of production say of stacks, in their own environment.

    Args:
        stacks: resources by name of the stack.
        history: folder of the deployment logs.
    """
    file = REPOSITORY / "policies" / "config" / "prod.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for name in ("staging-evidence-present", "stable-by-a-rollout"):
        config[name] = {"historyFolder": str(history)}
    path = os.pathsep.join(map(str, (REPOSITORY / "policies", REPOSITORY / "tests" / "policies")))
    done = subprocess.run(
        [str(PYTHON), "-m", "evaluate"],
        input=json.dumps({"config": config, "stacks": stacks}),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
