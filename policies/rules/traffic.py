"""Rules about how traffic reaches a model's versions.

A rule sees what is declared, not what was, so `ModelService` writes the rollout down in
annotations of its HTTPRoute. Whatever else a route says, a move to 0 always passes: nothing may
keep a bad version in traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_policy import (
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
)
from pulumi_policy.proxy import UnknownValueError

_PREFIX = "modelramp.dev/"
_RISKS = ("low", "medium", "high")
_DOCS = "policies/README.md"  # in the repository that the stack is declared in
_ROUTE = ":HTTPRoute"
_PREDICTOR = "-predictor"  # how KServe ends the name of the Service before a model


@dataclass(frozen=True)
class Rollout:
    """What the annotations of a route say.

    Attributes:
        service: the model service.
        risk: low, medium or high.
        strategy: such as canary, or empty.
        candidate: the version under test, or empty at rest.
        percents: the candidate's declared percentages, in order.
    """

    service: str
    risk: str
    strategy: str
    candidate: str
    percents: tuple[float, ...]

    @property
    def is_withdrawn(self) -> bool:
        """Whether the candidate's last move is to 0."""
        return bool(self.percents) and self.percents[-1] == 0

    @property
    def first_percent(self) -> float | None:
        """The first share of traffic that the candidate gets, or None if it gets none."""
        return next((percent for percent in self.percents if percent > 0), None)


def read_rollout(annotations: Mapping[str, Any]) -> Rollout | None:
    """Returns what a route's annotations say, or None if they are not ours.

    Raises:
        ValueError: they are ours but incomplete or malformed; says what is wrong.
    """
    ours = {
        key.removeprefix(_PREFIX): annotations[key]
        for key in annotations
        if key.startswith(_PREFIX)
    }
    if not ours:
        return None
    for key in ("service", "stable", "risk"):
        if not ours.get(key):
            raise ValueError(f"the annotation {_PREFIX}{key} is missing")
    if ours["risk"] not in _RISKS:
        raise ValueError(f"{_PREFIX}risk is {ours['risk']!r}, allowed: {', '.join(_RISKS)}")
    return Rollout(
        service=ours["service"],
        risk=ours["risk"],
        strategy=ours.get("strategy", ""),
        candidate=ours.get("candidate", ""),
        percents=_percents(ours.get("moves", "[]")),
    )


def _percents(moves: str) -> tuple[float, ...]:
    try:
        percents = tuple(float(move["percent"]) for move in json.loads(moves))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{_PREFIX}moves must be a JSON list like [{{"percent": 5, "at": "..."}}]'
        ) from error
    if not all(0 <= percent <= 100 for percent in percents):
        raise ValueError(f"{_PREFIX}moves has a percentage that is not between 0 and 100")
    return percents


def _policy(
    rule: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None], **details: Any
) -> ResourceValidationPolicy:
    """Makes a policy of a rule.

    Args:
        rule: of a route's properties and the policy's configuration; returns what is wrong.
        details: name, description, severity and the like.
    """

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not args.resource_type.endswith(_ROUTE):
            return
        try:
            problem = rule(args.props, args.get_config())
        except UnknownValueError as unknown:
            # The engine shows it as advice, whatever the level: a preview cannot know the value.
            unknown.message = f"could not be checked: {unknown.message}"
            raise
        except ValueError as error:
            problem = f"could not be checked: {error}"
        if problem is not None:
            report(problem, None)

    return ResourceValidationPolicy(
        validate=validate, url=f"{_DOCS}#{details['name']}", tags=["traffic"], **details
    )


def _rollout_of(route: Mapping[str, Any]) -> Rollout | None:
    metadata: Mapping[str, Any] = route.get("metadata") or {}
    return read_rollout(metadata.get("annotations") or {})


def _first_step(route: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    rollout = _rollout_of(route)
    if rollout is None or rollout.risk != "high" or rollout.is_withdrawn:
        return None
    at_most = config.get("atMostPercent", 5)
    first = rollout.first_percent
    if first is None or first <= at_most:
        return None
    return (
        f"{rollout.service} is of high risk and {rollout.candidate or 'its candidate'} began with "
        f"{first:g}% of traffic; at most {at_most:g}% is allowed"
    )


def _all_at_once(route: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    rollout = _rollout_of(route)
    if rollout is None or rollout.strategy != "all-at-once" or rollout.is_withdrawn:
        return None
    allowed = config.get("risks", ["low"])
    if rollout.risk in allowed:
        return None
    return (
        f"{rollout.service} is of {rollout.risk} risk and declares the strategy all-at-once, "
        f"which is allowed only for: {', '.join(allowed) or 'none'}"
    )


def _raw_route(route: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    exempt = config.get("exemptRoutes", [])
    metadata: Mapping[str, Any] = route.get("metadata") or {}
    if metadata.get("name") in exempt or _rollout_of(route) is not None:
        return None
    predictors = sorted({name for name in _backends(route) if name.endswith(_PREDICTOR)})
    if not predictors:
        return None
    return (
        f"the route sends traffic straight to {', '.join(predictors)}, past any rollout: "
        "it has no annotations of a ModelService"
    )


def _backends(route: Mapping[str, Any]) -> list[str]:
    """Returns the names of all Services that a route sends or mirrors requests to."""
    spec: Mapping[str, Any] = route.get("spec") or {}
    rules: Sequence[Mapping[str, Any]] = spec.get("rules") or []
    references: list[Mapping[str, Any]] = [
        reference for rule in rules for reference in rule.get("backendRefs") or []
    ]
    mirrors: list[Mapping[str, Any]] = [
        filter_["requestMirror"]["backendRef"]
        for rule in rules
        for filter_ in rule.get("filters") or []
        if filter_.get("requestMirror")
    ]
    return [reference["name"] for reference in (*references, *mirrors)]


POLICIES = [
    _policy(
        _first_step,
        name="high-risk-first-step",
        display_name="Small first step for high risk",
        description="A service of high risk should give a candidate little traffic at first.",
        severity=Severity.HIGH,
        remediation_steps="Begin the strategy's steps with 5 percent or less, or set the "
        "candidate's move to 0.",
        config_schema=PolicyConfigSchema(
            properties={
                "atMostPercent": {"type": "number", "minimum": 0, "maximum": 100, "default": 5}
            }
        ),
    ),
    _policy(
        _all_at_once,
        name="all-at-once-low-risk",
        display_name="All at once for low risk only",
        description="Only a service of low risk should replace its model all at once.",
        severity=Severity.HIGH,
        remediation_steps="Declare another strategy, such as canary, or set the candidate's move "
        "to 0.",
        config_schema=PolicyConfigSchema(
            properties={
                "risks": {
                    "type": "array",
                    "items": {"type": "string", "enum": list(_RISKS)},
                    "default": ["low"],
                }
            }
        ),
    ),
    _policy(
        _raw_route,
        name="no-raw-route-to-a-model",
        display_name="No raw route to a model",
        description="A route to a KServe predictor should be that of a ModelService.",
        severity=Severity.CRITICAL,
        remediation_steps="Declare the model as a service of the stack, which makes its route, or "
        "name the route in exemptRoutes.",
        config_schema=PolicyConfigSchema(
            properties={
                "exemptRoutes": {"type": "array", "items": {"type": "string"}, "default": []}
            }
        ),
    ),
]
