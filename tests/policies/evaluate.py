# pyright: basic
"""Runs all policies on resources as the engine does: `python -m evaluate < request > findings`.

The request is JSON: `config` as a file of `policies/config` has it, and `stacks`, resources by
name of the stack. The answer has for each stack the findings: policy, resource, message, and
whether it is a violation or advice that something could not be checked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    Policy,
    PolicyCustomTimeouts,
    PolicyProviderResource,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError, unknown_checking_proxy
from rules.catalogue import POLICIES

Finding = dict[str, Any]


def urn_of(resource: Mapping[str, Any]) -> str:
    """Returns the URN of a resource on the stack prod."""
    return f"urn:pulumi:prod::modelramp::{resource['type']}::{resource['name']}"


def configured(policy: Policy, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a policy's configuration with the defaults of its schema, as the engine gives it."""
    assert policy.config_schema is not None
    defaults = {key: it.get("default") for key, it in policy.config_schema.properties.items()}
    said = config.get(policy.name)
    return {**defaults, **(said if isinstance(said, dict) else {})}


def run(policy: Policy, prepared: Sequence[Any], config: Mapping[str, Any]) -> list[Finding]:
    """Returns the findings of one policy on all resources of a stack, see `prepare`."""
    found: list[Finding] = []
    options = configured(policy, config)

    def report(message: str, urn: str | None = None) -> None:
        found.append({"policy": policy.name, "message": message, "urn": urn, "advice": False})

    def validate(args: Any) -> None:
        try:
            policy.validate(args, report)  # pyright: ignore[reportAttributeAccessIssue]
        except UnknownValueError as unknown:
            told = {"message": unknown.message, "urn": getattr(args, "urn", None)}
            found.append({"policy": policy.name, **told, "advice": True})

    if isinstance(policy, ResourceValidationPolicy):
        for declared, props, it in prepared:
            kind, name = declared["type"], declared["name"]
            urn = urn_of(declared)
            validate(ResourceValidationArgs(kind, props, urn, name, it.opts, it.provider, options))
    elif isinstance(policy, StackValidationPolicy):
        validate(StackValidationArgs([it for _, _, it in prepared], options))
    return found


def prepare(resources: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Returns each resource as declared, with its inputs and with its outputs."""
    return [_prepared(it, resources) for it in resources]


def _prepared(declared: Mapping[str, Any], resources: Sequence[Mapping[str, Any]]):
    options = PolicyResourceOptions(
        bool(declared.get("protect")), [], None, [], PolicyCustomTimeouts(0, 0, 0), []
    )
    props = unknown_checking_proxy(declared["props"])
    # Of a component the engine keeps only what it registers as outputs.
    is_component = declared["type"].startswith("modelramp:")
    stack_props = unknown_checking_proxy({}) if is_component else props
    resource = PolicyResource(
        declared["type"],
        stack_props,
        urn_of(declared),
        declared["name"],
        options,
        _provider(declared, resources),
        None,
        [],
        {
            key: [_other(it) for it in resources if it["name"] in names]
            for key, names in declared.get("madeFrom", {}).items()
        },
    )
    return declared, props, resource


def _other(declared: Mapping[str, Any]) -> PolicyResource:
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    props = unknown_checking_proxy(declared["props"])
    name, urn = declared["name"], urn_of(declared)
    return PolicyResource(declared["type"], props, urn, name, options, None, None, [], {})


def _provider(declared: Mapping[str, Any], resources: Sequence[Mapping[str, Any]]):
    token = f"pulumi:providers:{declared['type'].split(':')[0]}"
    for it in resources:
        if it["type"] == token:
            props = unknown_checking_proxy(it["props"])
            return PolicyProviderResource(token, props, urn_of(it), it["name"])
    return None


def main() -> None:
    """Answers one request."""
    request = json.load(sys.stdin)
    answer: dict[str, list[Finding]] = {}
    for name, resources in request["stacks"].items():
        prepared = prepare(resources)
        answer[name] = [
            it for policy in POLICIES for it in run(policy, prepared, request["config"])
        ]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
