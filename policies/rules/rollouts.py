"""Rules about the rollouts of a stack together: how many at a time, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pulumi_policy import Severity
from pulumi_policy.proxy import UnknownValueError

from rules.policy import Options, each_of, stack_policy
from rules.reading import Declared, Finding, NotKnown, at, number
from rules.route import SERVICE_KIND, Rollout, newest, rollout_of, service_name

_TOPIC = "rollouts"

Found = Iterator[tuple[Declared | None, Finding]]


def rollouts(
    resources: Sequence[Declared],
) -> tuple[list[tuple[Declared, Rollout]], list[tuple[Declared, Finding]]]:
    """Returns the routes with their rollouts, and those whose annotations cannot be read.

    That they cannot be is a violation of the rules about one route, and no second one here.
    """
    found: list[tuple[Declared, Rollout]] = []
    unread: list[tuple[Declared, Finding]] = []
    for declared in resources:
        try:
            rollout = rollout_of(declared)
        except UnknownValueError as unknown:
            unread.append((declared, NotKnown(unknown.message)))
        except ValueError as error:
            unread.append((declared, NotKnown(str(error))))
        else:
            if rollout is not None:
                found.append((declared, rollout))
    return found, unread


def running(resources: Sequence[Declared]) -> Mapping[tuple[str, str], list[Declared]]:
    """Returns the InferenceServices by namespace and name.

    Several only where there are several clusters. Labels would not do: any two can be labelled
    the same.
    """
    found: dict[tuple[str, str], list[Declared]] = {}
    for it in resources:
        if it.kind == SERVICE_KIND:
            found.setdefault((it.namespace, it.object_name), []).append(it)
    return found


def _one_candidate(resources: Sequence[Declared], _: Options) -> Found:
    routes, unread = rollouts(resources)
    yield from unread
    services: dict[tuple[str, str], list[tuple[Declared, Rollout]]] = {}
    for declared, rollout in routes:
        key = declared.namespace, rollout.service.casefold()
        services.setdefault(key, []).append((declared, rollout))
    for together in services.values():
        last, active = together[-1][0], [it for _, it in together if not it.is_withdrawn]
        candidates = sorted({it.candidate for it in active if it.candidate})
        stables = sorted({it.stable for it in active})
        if len(candidates) > 1:
            yield last, f"{active[0].service} has several candidates: {', '.join(candidates)}"
        elif len(stables) > 1:
            yield last, f"{active[0].service} has several stable versions: {', '.join(stables)}"
        elif len({it.moves for it in active}) > 1:
            yield last, f"the routes of {active[0].service} say different moves"


def _one_rollout(resources: Sequence[Declared], _: Options) -> Found:
    routes, unread = rollouts(resources)
    yield from unread
    groups: dict[str, list[tuple[Declared, Rollout]]] = {}
    for declared, rollout in routes:
        if rollout.group:
            groups.setdefault(rollout.group.casefold(), []).append((declared, rollout))
    services = running(resources)
    for together in groups.values():
        if _takes_one_back(together, services):
            continue
        busy = {
            (declared.namespace, it.service): declared
            for declared, it in together
            if it.percent > 0
        }
        if len(busy) > 1:
            names = ", ".join(sorted(service for _, service in busy))
            yield (
                [*busy.values()][-1],
                f"group {together[0][1].group} has several rollouts: {names}",
            )


def _takes_one_back(
    together: Sequence[tuple[Declared, Rollout]],
    services: Mapping[tuple[str, str], list[Declared]],
) -> bool:
    """Whether the newest move of a group is one to 0: that never waits for the others.

    A route to nothing takes nothing back; under Knative one resource is stable and candidate.
    """
    last = newest([move for _, it in together for move in it.moves], datetime.now(UTC))
    if last is None or last.percent > 0:
        return False
    return any(
        it.is_withdrawn
        and it.moves[-1] == last
        and (
            route.kind == SERVICE_KIND
            or all(
                (route.namespace, service_name(it.service, version)) in services
                for version in (it.stable, it.candidate)
            )
        )
        for route, it in together
    )


def _previous_kept(resources: Sequence[Declared], options: Options) -> Found:
    hours = options.get("leastHours", 24)
    routes, unread = rollouts(resources)
    yield from unread
    services = running(resources)
    rollout_by_urn = {declared.urn: rollout for declared, rollout in routes}

    def check(declared: Declared) -> Iterator[Finding]:
        rollout = rollout_by_urn[declared.urn]
        if rollout.is_withdrawn:
            return
        keep = rollout.keep_previous_seconds
        if keep is None:
            yield f"{rollout.service} does not say how long it keeps the previous version"
        elif keep < hours * 3600:
            yield (
                f"{rollout.service} keeps the previous version for {keep / 3600:g} hours; at least "
                f"{hours:g} are asked for"
            )
        if declared.kind == SERVICE_KIND:  # its revisions are Knative's
            return
        for version in sorted(rollout.versions - {rollout.candidate}):
            name = service_name(rollout.service, version)
            kept = services.get((declared.namespace, name), [])
            if not kept:
                yield f"{rollout.service} {version} is named by the route and does not run"
            elif version == rollout.previous and any(
                number(at(it.spec, "predictor", "minReplicas"), 1) < 1 for it in kept
            ):
                yield f"{rollout.service} {version} is the previous version and may have no pod"

    yield from each_of([it for it, _ in routes], check)


POLICIES = [
    stack_policy(
        _TOPIC,
        _one_candidate,
        name="one-candidate-a-service",
        title="One candidate a service",
        description="A service should have at most one candidate at a time.",
        severity=Severity.HIGH,
        remediation="Finish the rollout of one candidate, or take it back, before another begins.",
    ),
    stack_policy(
        _TOPIC,
        _one_rollout,
        name="one-rollout-a-group",
        title="One rollout a group",
        description="Services of a group should be rolled out one at a time.",
        severity=Severity.HIGH,
        remediation="Set all but one of the candidates to 0 until its rollout is over.",
    ),
    stack_policy(
        _TOPIC,
        _previous_kept,
        name="previous-version-kept",
        title="The previous version is kept",
        description="The last stable version should go on running for a day after a promotion.",
        severity=Severity.HIGH,
        remediation="Set keepPrevious.for to 24h or more, and leave the previous version declared "
        "until then.",
        options={
            "leastHours": {
                "type": "number",
                "minimum": 0,
                "default": 24,
                "description": "shortest time that it is kept, hours",
            }
        },
    ),
]
