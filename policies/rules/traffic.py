"""Rules about how traffic reaches a model's versions, judged on one route at a time.

A rule sees what is declared, not what was, so `ModelService` writes the rollout down in
annotations of its route. A candidate that is taken back passes every rule about its rollout:
nothing may keep a bad version in traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pulumi_policy import Severity

from rules.pods import COMPONENTS
from rules.policy import RISKS, Options, each_of, resource_policy, stack_policy
from rules.reading import Declared, Finding, NotKnown, at, mapping, number
from rules.route import (
    ROUTES,
    SERVICE_KIND,
    Rollout,
    model_names,
    percent_of,
    predictor_name,
    rollout_of,
    sent,
)

_TOPIC = "traffic"
_VISIBILITY = "networking.kserve.io/visibility"
_ROUNDING_PERCENT = 0.5

_OTHER_ROUTES = frozenset(
    {
        *("tlsroute", "tcproute", "udproute", "ingress", "virtualservice"),
        *("ingressroute", "ingressroutetcp", "traefikservice", "httpproxy", "route", "mapping"),
        *("trafficsplit", "backend", "serviceentry", "envoypatchpolicy", "serviceimport"),
        *("apisixroute", "kongingress", "virtualserver", "upstream", "routetable"),
    }
)
"""Kinds by which others send requests somewhere; a `ModelService` makes none of them."""

_POD_LABELS = ("model-service", "model-version", "serving.kserve.io/inferenceservice")
"""Labels of models' pods; a Service that selects by one is another door to them."""


def _first_step(declared: Declared, options: Options) -> Iterator[Finding]:
    rollout = rollout_of(declared)
    if rollout is None or rollout.risk != "high" or rollout.is_withdrawn:
        return
    at_most, minutes = options.get("atMostPercent", 5), options.get("leastMinutes", 10)
    moves = [it for it in rollout.moves if it.percent > 0]
    who = f"{rollout.service} is of high risk and {rollout.candidate}"
    if moves and moves[0].percent > at_most:
        yield (
            f"{who} began with {moves[0].percent:g}% of traffic; at most {at_most:g}% is allowed"
        )
        return
    for earlier, later in pairwise(moves):
        waited = (later.at - moves[0].at).total_seconds() / 60
        if earlier.percent <= at_most < later.percent:
            if waited < minutes:
                yield (
                    f"{who} got {later.percent:g}% after {waited:.0f} minutes; at least "
                    f"{minutes:g} minutes at {at_most:g}% or less are asked for"
                )
            return


def _all_at_once(declared: Declared, options: Options) -> Iterator[Finding]:
    rollout = rollout_of(declared)
    if rollout is None or rollout.strategy != "all-at-once" or rollout.is_withdrawn:
        return
    allowed = options.get("risks", ["low"])
    if rollout.risk not in allowed:
        yield (
            f"{rollout.service} is of {rollout.risk} risk and declares the strategy all-at-once, "
            f"which is allowed only for: {', '.join(allowed) or 'none'}"
        )


def _kept_weights(declared: Declared, _: Options) -> Iterator[Finding]:
    rollout = rollout_of(declared)
    if rollout is None:
        return
    if declared.kind == SERVICE_KIND:
        yield from _knative_weight(declared, rollout)
        return
    rules = sent(declared, rollout.strategy)
    known = {predictor_name(rollout.service, it): it for it in rollout.versions}
    for name in sorted({name for it in rules for name in it.weights} - known.keys()):
        yield f"{name} gets requests and is neither stable, candidate nor previous"
    for name in sorted({name for it in rules for name in it.others}):
        yield f"{name} gets requests and is no Service of the route's namespace"
    for found in model_names(declared.spec):
        if isinstance(found, NotKnown):
            yield found
        elif found not in known and not any(found in it.weights for it in rules):
            yield f"{found} is named and is neither stable, candidate nor previous"
    open_rules = [it for it in rules if not it.is_pinned]
    for name, version in known.items():
        allowed = rollout.percent if version == rollout.candidate else 0
        gets = percent_of(name, open_rules)
        if version != rollout.stable and gets > allowed + _ROUNDING_PERCENT:
            yield f"{version} gets {gets:g}% of requests, its last move says {allowed:g}%"


def _knative_weight(declared: Declared, rollout: Rollout) -> Iterator[Finding]:
    if not rollout.candidate:
        return
    # Without the field KServe sends everything to the newest revision.
    gets = number(at(declared.spec, "predictor", "canaryTrafficPercent"), 100)
    if gets > rollout.percent + _ROUNDING_PERCENT:
        yield (
            f"{rollout.candidate} gets {gets:g}% of requests, its last move says "
            f"{rollout.percent:g}%"
        )


def _raw_route(declared: Declared, _: Options) -> Iterator[Finding]:
    kind = declared.kind
    if kind in ROUTES and rollout_of(declared) is None:
        rules = sent(declared, "")
        # It only keeps versions known to the gateway.
        if not rules or not all(it.takes_nothing for it in rules):
            yield from _straight(declared)
    elif kind in _OTHER_ROUTES:
        yield from _straight(declared)
    elif kind == "service":
        yield from _alias(declared)
    elif kind == SERVICE_KIND:
        yield from _routed_by_kserve(declared)
    elif kind == "inferencegraph":
        yield "an InferenceGraph sends requests to models by itself, past any rollout"
    elif kind == "llminferenceservice" and at(declared.spec, "router") is not None:
        yield "KServe makes a route of its own for it (spec.router), past any rollout"


def _straight(declared: Declared) -> Iterator[Finding]:
    found: set[str] = set()
    for name in model_names(declared.props.get("spec")):
        if isinstance(name, NotKnown):
            yield name
        else:
            found.add(name)
    if found:
        yield (
            f"the {declared.kind} sends traffic straight to {', '.join(sorted(found))}, past any "
            "rollout: it has no annotations of a ModelService"
        )


def _alias(declared: Declared) -> Iterator[Finding]:
    selector = mapping(declared.spec.get("selector"))
    by = [key for key in _POD_LABELS if key in selector]
    if str(selector.get("app") or "").startswith("isvc."):
        by.append("app")
    if by:
        yield f"the Service selects pods of a model by {', '.join(by)}, past its route"
    yield from (
        it if isinstance(it, NotKnown) else f"the Service is another name of {it}, past its route"
        for it in model_names(declared.spec.get("externalName"))
    )


def _alias_by_label(
    resources: Sequence[Declared], _: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    models = [it for it in resources if it.kind == SERVICE_KIND]

    def check(declared: Declared) -> Iterator[Finding]:
        selector = mapping(declared.spec.get("selector"))
        for model in models if selector else ():
            for name in COMPONENTS:
                labels = mapping(at(model.spec, name, "labels"))
                if all(labels.get(key) == selector[key] for key in selector):
                    yield f"the Service selects the pods of {model.object_name}, past its route"

    yield from each_of([it for it in resources if it.kind == "service"], check)


def _routed_by_kserve(declared: Declared) -> Iterator[Finding]:
    if rollout_of(declared) is not None:  # under Knative KServe is told of the rollout
        return
    if declared.labels.get(_VISIBILITY) != "cluster-local":
        yield (
            f"KServe makes a route of its own to {declared.object_name}: the label "
            f"{_VISIBILITY}: cluster-local is missing"
        )
    if at(declared.spec, "predictor", "canaryTrafficPercent") is not None or declared.spec.get(
        "canary"
    ):
        yield f"KServe splits the traffic of {declared.object_name} by itself, past any rollout"


POLICIES = [
    resource_policy(
        _TOPIC,
        _first_step,
        name="high-risk-first-step",
        title="Small first step for high risk",
        description="A service of high risk should give a candidate little traffic at first.",
        severity=Severity.HIGH,
        remediation="Begin the strategy's steps with 5 percent or less and a bake of some "
        "minutes, or set the candidate's move to 0.",
        options={
            "atMostPercent": {
                "type": "number",
                "minimum": 0,
                "maximum": 100,
                "default": 5,
                "description": "largest first share of traffic, percent",
            },
            "leastMinutes": {
                "type": "number",
                "minimum": 0,
                "default": 10,
                "description": "shortest time until a larger share",
            },
        },
    ),
    resource_policy(
        _TOPIC,
        _all_at_once,
        name="all-at-once-low-risk",
        title="All at once for low risk only",
        description="Only a service of low risk should replace its model all at once.",
        severity=Severity.HIGH,
        remediation="Declare another strategy, such as canary, or set the candidate's move to 0.",
        options={
            "risks": {
                "type": "array",
                "items": {"type": "string", "enum": list(RISKS)},
                "default": ["low"],
                "description": "risks of services that may",
            }
        },
    ),
    resource_policy(
        _TOPIC,
        _kept_weights,
        name="route-keeps-to-its-moves",
        title="The route does what its moves say",
        description="A route should send a version no more requests than its last move says.",
        severity=Severity.CRITICAL,
        remediation="Declare the model as a service of the stack and let its rollout write the "
        "weights.",
    ),
    resource_policy(
        _TOPIC,
        _raw_route,
        name="no-raw-route-to-a-model",
        title="No raw route to a model",
        description="Requests should reach a KServe model by the route of a ModelService only.",
        severity=Severity.CRITICAL,
        remediation="Declare the model as a service of the stack, which makes its route, or name "
        "the route in exempt.",
    ),
    stack_policy(
        _TOPIC,
        _alias_by_label,
        name="no-alias-of-a-model",
        title="No other name of a model",
        description="No Service should select the pods of a KServe model beside KServe's own.",
        severity=Severity.CRITICAL,
        remediation="Send requests to the route of the ModelService, and take the Service out.",
    ),
]
