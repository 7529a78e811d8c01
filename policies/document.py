"""Writes docs/policies.md from what the policies say of themselves: `make docs/policies.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from pulumi_policy import Policy, StackValidationPolicy
from rules.catalogue import POLICIES

HEAD = """\
<!-- Written by `make docs/policies.md` from policies/rules; edit those. -->
# Policies

{count} rules that a stack for production must keep, in a CrossGuard pack. How to run and configure
it, what it does not see, and what becomes of a revert: [policies/README.md](../policies/README.md).
They are advice unless a configuration says otherwise; in
[`policies/config/prod.json`](../policies/config/prod.json) all are mandatory. Rules about one
*resource* stop it before it is made, rules about the *stack* stop a preview.

| policy | what should be | severity | about |
|---|---|---|---|
"""


def document() -> str:
    """Returns the whole page."""
    rows = "".join(f"{_row(policy)}\n" for policy in POLICIES)
    head = HEAD.format(count=len(POLICIES))
    return head + rows + "".join(_sections())


def _row(policy: Policy) -> str:
    assert policy.severity is not None  # noqa: S101  a test holds it
    about = "stack" if isinstance(policy, StackValidationPolicy) else "resource"
    link = f"[{policy.name}](#{policy.name})"
    return f"| {link} | {policy.description} | {policy.severity.value} | {about} |"


def _sections() -> Iterator[str]:
    for topic, policies in groupby(POLICIES, key=lambda it: (it.tags or [""])[0]):
        title = {"gpus": "GPUs"}.get(topic, topic.capitalize())
        yield f"\n## {title}\n"
        for policy in policies:
            yield f"\n### {policy.name}\n\n{policy.description}\n"
            yield f"Remedy: {policy.remediation_steps}\n"
            own = {name: it for name, it in _options(policy).items() if name != "exempt"}
            if own:
                yield "\n"
            for name, option in own.items():
                yield f"- `{name}`: {option['description']}; {_json(option)} by default\n"
    yield "\nEvery policy also takes `exempt`: names of resources that are passed over.\n"


def _options(policy: Policy) -> dict[str, dict[str, Any]]:
    return policy.config_schema.properties if policy.config_schema else {}


def _json(option: dict[str, Any]) -> str:
    return f"`{json.dumps(option['default'])}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
