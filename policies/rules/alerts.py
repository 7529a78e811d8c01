"""Rules about what is watched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pulumi_policy import Severity
from pulumi_policy.proxy import UnknownValueError

from rules.policy import Options, stack_policy
from rules.reading import Declared, Finding, NotKnown, mappings
from rules.rollouts import rollouts
from rules.route import SERVICE_KIND

_TOPIC = "alerts"
_SERVICE_MATCHER = re.compile(r'\b(?:model_service|service)\s*=~?\s*"([^"]*)"')


def _watched(
    resources: Sequence[Declared], options: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    needed = frozenset(options.get("alerts", []))
    routes, unread = rollouts(resources)
    yield from unread
    services: dict[str, Declared] = {}
    for declared in resources:
        try:
            if declared.kind == SERVICE_KIND:
                name = str(declared.labels.get("model-service") or declared.object_name)
                services.setdefault(name, declared)
        except UnknownValueError as unknown:
            yield declared, NotKnown(unknown.message)
    services |= {rollout.service: declared for declared, rollout in routes}
    for _, rollout in routes:
        if rollout.is_withdrawn:
            services.pop(rollout.service, None)
    alerts, unknown_rules = _alerts(resources)
    for name, declared in services.items():
        found = {alert for alert, watched in alerts if name in watched}
        if found and needed <= found:
            continue
        missing = ", ".join(sorted(needed - found)) or "any"
        text = f"{name} has no alert: {missing}" if needed else f"{name} has no alert"
        # One of the rules that are not known yet may be it.
        yield (declared, text) if not unknown_rules else (declared, NotKnown(unknown_rules[0]))


def _alerts(resources: Sequence[Declared]) -> tuple[list[tuple[str, set[str]]], list[str]]:
    """Returns alerts with the services that their expressions ask for, and what is not known."""
    found: list[tuple[str, set[str]]] = []
    unknown: list[str] = []
    for declared in resources:
        if declared.kind != "prometheusrule":
            continue
        try:
            rules = [
                rule
                for group in mappings(declared.spec.get("groups"))
                for rule in mappings(group.get("rules"))
            ]
            found += [
                (str(rule["alert"]), set(_services(rule.get("expr"))))
                for rule in rules
                if rule.get("alert")
            ]
        except UnknownValueError as error:
            unknown.append(f"{declared.name}: {error.message}")
    return found, unknown


def _services(expression: Any) -> Iterator[str]:
    for names in _SERVICE_MATCHER.findall(str(expression)):
        yield from names.split("|")


POLICIES = [
    stack_policy(
        _TOPIC,
        _watched,
        name="alerts-for-every-service",
        title="Alerts for every service",
        description="Every model service should have alerts.",
        severity=Severity.MEDIUM,
        remediation="Declare the model as a service of the stack, whose alerts follow from its "
        "SLO, or a PrometheusRule that asks for its series.",
        options={
            "alerts": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "names of the alerts that each must have; any one if empty",
            }
        },
    )
]
