# pyright: basic
"""The whole program, on mocks, for every stack that ships."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pulumi
import pytest

from components.stack import declare_stack
from models.stack import load_stack, parse_stack, secret_keys
from tests.components.conftest import record
from tests.stacks import LOCAL

STACKS = Path(__file__).parents[2] / "stacks"
VERSIONS = """\
      versions:
        "1.4.0": {uri: "s3://%s/%s/4", digest: "sha256:%s", registry: "models:/m/14"}
        "1.5.0": {uri: "s3://%s/%s/5", digest: "sha256:%s", registry: "models:/m/15"}
      rollout: {stable: "1.4.0"}
"""


def deployed(file: Path):
    """A stack with a version of each service."""
    lines, declared = [], load_stack(file)
    bucket = declared.artifacts.bucket if declared.artifacts else "models"
    for line in file.read_text().splitlines():
        lines.append(line)
        name = line.split("#")[0].strip().removesuffix(":")
        if name in declared.services:
            prefixes = declared.artifacts.prefixes if declared.artifacts else {}
            folder = prefixes.get(name, name)
            lines.append(VERSIONS % (bucket, folder, "0" * 64, bucket, folder, "1" * 64))
    return parse_stack("\n".join(lines), file.name)


def declared_by(stack) -> dict:
    def secret(key: str) -> pulumi.Output[str]:
        return pulumi.Output.secret(f"the value of {key}")

    return record(lambda: declare_stack(stack, secret, Path("/project")))


@pytest.mark.parametrize("file", sorted(STACKS.glob("Pulumi.*.yaml")), ids=lambda it: it.stem)
def test_every_stack_that_ships_can_be_declared(file: Path):
    stack = deployed(file)
    made = declared_by(stack)
    types = Counter(it["type"].removeprefix("modelramp:index:") for it in made.values())
    services = len(stack.services)
    for component in ("ModelService", "AlertRules", "Dashboards", "Scraping"):
        assert types[component] == services
    assert types["GpuNodePool"] == len(stack.gpu_pools)
    assert types["GpuRules"] == bool(stack.gpu_pools)
    assert types["ArtifactStore"] == (stack.artifacts is not None)
    assert types["pulumi:providers:aws"] == (stack.aws is not None)
    children = [it for it in made.values() if not it["type"].startswith(("modelramp", "pulumi:"))]
    assert all(it["parent"] for it in children), "every resource has a component"


def test_gpu_pods_wait_for_their_pools_quota():
    stack = deployed(STACKS / "Pulumi.prod.yaml")
    service = declared_by(stack)["support-chat-1.4.0"]
    assert "l4-quota" in service["options"]["dependsOn"]
    assert service["inputs"]["spec"]["predictor"]["priorityClassName"] == "modelramp-models-l4"


def test_services_wait_for_their_own_role_and_read_as_their_own_account():
    made = declared_by(deployed(STACKS / "Pulumi.prod.yaml"))
    fraud = made["fraud-1.4.0"]
    assert fraud["inputs"]["spec"]["predictor"]["serviceAccountName"] == "fraud"
    assert any("fraud" in it for it in fraud["options"]["dependsOn"])
    assert not any("churn" in it for it in fraud["options"]["dependsOn"])


def test_secrets_are_where_they_are_needed_and_nowhere_else():
    alerting = (
        "modelramp:alerting: {default: hook,"
        " receivers: [{name: hook, kind: webhook, urlSecret: hookUrl}]}"
    )
    store = (
        "modelramp:artifacts: {provider: s3-compatible, bucket: models, endpoint: http://store,"
        " credentials: {accessKeySecret: s3Access, secretKeySecret: s3Secret},"
        " prefixes: {fraud: a}}"
    )
    keys = ("hookUrl", "s3Access", "s3Secret")
    secrets = "\n".join(f"  modelramp:{key}: {{secure: x}}" for key in keys)
    text = (
        LOCAL.replace("{target: embedded,", "{target: cluster, prometheus: http://p,")
        .replace("config:", f"config:\n  {alerting}\n  {store}\n{secrets}")
        .replace("s3://m/a", "s3://models/a/4")
        .replace("s3://m/b", "s3://models/a/5")
    )
    stack = parse_stack(text, "x")
    assert {key for _, key in secret_keys(stack)} == {*keys}
    made = declared_by(stack)
    for key in ("hookUrl", "s3Access", "s3Secret"):
        holders = {
            it["type"]
            for it in made.values()
            if f"the value of {key}" in json.dumps(it, default=str)
        }
        assert holders == {"kubernetes:core/v1:Secret"}
    assert parse_stack(LOCAL, "x").alerting is None
