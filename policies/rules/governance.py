"""Rules about who answers for a service, and what its versions have shown before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi_policy import Severity

from rules.policy import RISKS, Options, each_of, resource_policy, stack_policy
from rules.prices import REPOSITORY
from rules.reading import Declared, Finding
from rules.rollouts import rollouts, running
from rules.route import PREFIX, Rollout, rollout_of, service_name

_TOPIC = "governance"

_UNSEEN = {
    "kubernetes:helm.sh/v3:Release": "what a Helm release makes",
    "aws:cloudformation/stack:Stack": "what a CloudFormation stack makes",
    "aws:cloudformation/stackSet:StackSet": "what a CloudFormation stack makes",
    "aws:cloudcontrol/resource:Resource": "what Cloud Control makes",
    "command:local:Command": "what a command does",
    "command:remote:Command": "what a command does",
    "pulumi-python:dynamic:Resource": "what a dynamic provider does",
    "pulumi-nodejs:dynamic:Resource": "what a dynamic provider does",
}
_UNSEEN_GROUPS = {
    "argoproj.io/application": "what Argo CD makes",
    "argoproj.io/applicationset": "what Argo CD makes",
    "helm.toolkit.fluxcd.io/helmrelease": "what Flux makes",
    "kustomize.toolkit.fluxcd.io/kustomization": "what Flux makes",
}
"""By group and kind of an object that makes others in the cluster."""


def _owned(declared: Declared, _: Options) -> Iterator[Finding]:
    rollout = rollout_of(declared)
    if rollout is not None and not rollout.is_withdrawn and not rollout.owner:
        yield f"{rollout.service} has no owner"


def _carded(declared: Declared, options: Options) -> Iterator[Finding]:
    rollout = rollout_of(declared)
    if rollout is None or rollout.is_withdrawn or rollout.risk not in options.get("risks", []):
        return
    if not rollout.contact:
        yield f"{rollout.service} is of {rollout.risk} risk and has no model card"


def _rehearsed(
    resources: Sequence[Declared], options: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    folder = REPOSITORY / str(options.get("historyFolder", "stacks/history"))
    services = running(resources)

    def check(declared: Declared, rollout: Rollout) -> Iterator[Finding]:
        if not rollout.staging:
            yield f"{rollout.service} names no stack that a version has to pass first"
            return
        log = _log(folder, rollout.staging, rollout.service)
        for version, digest in _digests(services, declared, rollout):
            if not _was_promoted(log, digest):
                yield f"{version} was never promoted on the stack {rollout.staging}"

    yield from _of_risk(resources, options, check)


def _promoted(
    resources: Sequence[Declared], options: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    folder = REPOSITORY / str(options.get("historyFolder", "stacks/history"))
    services = running(resources)

    def check(declared: Declared, rollout: Rollout) -> Iterator[Finding]:
        stack = declared.urn.split(":")[2]
        log = _log(folder, stack, rollout.service)
        for version, digest in _digests(services, declared, rollout):
            if version == rollout.stable and not _was_promoted(log, digest):
                yield f"{version} is stable and was never promoted on the stack {stack}"

    yield from _of_risk(resources, options, check)


def _of_risk(
    resources: Sequence[Declared],
    options: Options,
    check: Callable[[Declared, Rollout], Iterable[Finding]],
) -> Iterator[tuple[Declared | None, Finding]]:
    routes, unread = rollouts(resources)
    yield from unread
    risks = options.get("risks", ["high"])
    for route, rollout in routes:
        if rollout.risk in risks and not rollout.is_withdrawn:
            yield from each_of([route], lambda it, rollout=rollout: check(it, rollout))


def _digests(
    services: Mapping[tuple[str, str], list[Declared]], route: Declared, rollout: Rollout
) -> Iterator[tuple[str, str]]:
    """Yields stable and candidate with the digests that their InferenceServices say."""
    for version in (rollout.stable, rollout.candidate):
        if not version:
            continue
        name = service_name(rollout.service, version)
        for service in services.get((route.namespace, name), [route]):
            yield version, str(service.annotations.get(f"{PREFIX}digest") or "")


def _log(folder: Path, stack: str, service: str) -> list[Mapping[str, Any]]:
    """Returns the deployment log of a service; its lines are those of `rollout.history`."""
    if any(Path(it).name != it for it in (stack, f"{service}.jsonl")):
        return []  # no name, but a way to another file
    try:
        text = (folder / stack / f"{service}.jsonl").read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines() if line]


def _was_promoted(log: list[Mapping[str, Any]], digest: str) -> bool:
    """Whether a digest became stable and was not taken back since, but for a drill."""
    promoted = False
    for line in log:
        if not digest or line.get("digest") != digest:
            continue
        verdict = line.get("verdict")
        # The first version of a service is stable without a rollout.
        first = verdict in ("deploy", "start") and line.get("candidate") is None
        if first or verdict == "promote":
            promoted = True
        elif verdict in ("revert", "rollback"):
            promoted = promoted and str(line.get("reason")).lower().startswith("drill")
    return promoted


def _seen(declared: Declared, _: Options) -> Iterator[Finding]:
    group = str(declared.props.get("apiVersion") or "").partition("/")[0]
    what = _UNSEEN.get(declared.type) or _UNSEEN_GROUPS.get(f"{group}/{declared.kind}")
    if what:
        yield f"{what} is seen by no policy"


def _risks(what: str) -> dict[str, dict[str, Any]]:
    return {
        "risks": {
            "type": "array",
            "items": {"type": "string", "enum": list(RISKS)},
            "default": ["high"],
            "description": f"risks of the services that {what}",
        }
    }


_HISTORY = {
    "historyFolder": {
        "type": "string",
        "default": "stacks/history",
        "description": "folder of the deployment logs, in the repository",
    }
}

POLICIES = [
    resource_policy(
        _TOPIC,
        _owned,
        name="service-has-an-owner",
        title="An owner for every service",
        description="Every model service should have an owner.",
        severity=Severity.MEDIUM,
        remediation="Set owner of the service to the team that answers for it.",
    ),
    resource_policy(
        _TOPIC,
        _carded,
        name="model-card-present",
        title="A model card",
        description="A service of high risk should have a model card.",
        severity=Severity.MEDIUM,
        remediation="Set card of the service: purpose, data, limits and contact.",
        options=_risks("must have one"),
    ),
    stack_policy(
        _TOPIC,
        _rehearsed,
        name="staging-evidence-present",
        title="Evidence from staging",
        description="A version of a service of high risk should have been stable on another stack.",
        severity=Severity.HIGH,
        remediation="Set gates.staging of the service, roll the version out on that stack first, "
        "and commit its history.",
        options={**_risks("must have it"), **_HISTORY},
    ),
    stack_policy(
        _TOPIC,
        _promoted,
        name="stable-by-a-rollout",
        title="Stable by a rollout",
        description="A stable version of high risk should have been promoted by a rollout.",
        severity=Severity.HIGH,
        remediation="Leave stable as it was and deploy the version as a candidate: "
        "`modelramp deploy`.",
        options={**_risks("it is for"), **_HISTORY},
    ),
    resource_policy(
        _TOPIC,
        _seen,
        name="no-unseen-resources",
        title="Nothing that policies cannot see",
        description="A stack should declare its resources, not a program that makes them.",
        severity=Severity.MEDIUM,
        remediation="Declare what it makes, such as by kubernetes.helm.v4.Chart, or name it in "
        "exempt.",
    ),
]
