from __future__ import annotations

import pytest

from rollout.changed_stacks import changed_stacks

STACKS = ["dev", "prod", "staging"]


@pytest.mark.parametrize(
    ("paths", "touched"),
    [
        (["stacks/Pulumi.prod.yaml"], ["prod"]),
        (["stacks/Pulumi.staging.yaml", "stacks/Pulumi.dev.yaml"], ["dev", "staging"]),
        (["stacks/Pulumi.elsewhere.yaml"], []),
        (["stacks/history/prod/fraud.jsonl", "README.md", "docs/stacks.md"], []),
        (["stacks/schema.json", "tests/models/test_stack.py", "rollout/plan.py"], []),
        (["components/README.md"], []),
        (["components/model_service.py"], STACKS),
        (["models/metric_sources/vllm.yaml"], STACKS),
        (["stacks/__main__.py"], STACKS),
        (["requirements.lock"], STACKS),
        (["policies/config/prod.json"], ["prod"]),
        (["policies/rules/gpus.py"], STACKS),
        ([], []),
    ],
)
def test_a_change_touches(paths: list[str], touched: list[str]):
    assert changed_stacks(paths, STACKS) == touched
