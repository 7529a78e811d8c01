"""The conditions before a rollout starts, checked on what was logged; pure.

Evidence that is missing, of another artifact or not comparable fails its gate: nothing passes
because nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

import numpy as np

from models.base import format_duration
from models.governance import BetterThanStable, FairnessBound, Staging
from models.offline_evidence import Evaluation, OfflineEvidence
from models.service import Service
from models.stack import Stack
from rollout.paired import Values, compare
from rollout.registry_evidence import Logged, Missing

FEWEST_FOR_P99 = 1000
"""So that ten answers lie above it."""

State = Literal["passed", "failed", "not declared", "forced"]
T = TypeVar("T", bound=OfflineEvidence)


@dataclass(frozen=True)
class Gate:
    """One condition and what became of it.

    Attributes:
        name: of the gate, as it is declared.
        state: `forced` is failed, and passed by a person.
        says: why; what to log where evidence is missing.
    """

    name: str
    state: State
    says: str


@dataclass(frozen=True)
class Rehearsal:
    """What is known of a service on the staging stack.

    Attributes:
        stack: as declared there, or what is wrong with its file.
        log: lines of the service's history there, oldest first.
    """

    stack: Stack | Missing
    log: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Candidate:
    """What the gates look at.

    Attributes:
        digest: of the candidate's artifact, computed.
        has_profile: whether its artifact holds a reference profile.
        logged: what was logged of it.
        stable: the evaluation of the stable version; None if there is no stable version yet.
        stable_digest: of its artifact, as declared.
        rehearsal: on the staging stack; None if none is declared.
    """

    digest: str
    has_profile: bool
    logged: Logged
    stable: Evaluation | Missing | None
    stable_digest: str | None
    rehearsal: Rehearsal | None


def check_gates(name: str, stack: Stack, candidate: Candidate, now: datetime) -> tuple[Gate, ...]:
    """Returns every gate of a service, declared or not, with what became of it.

    Args:
        name: of the service.
        stack: that the candidate is for.
        candidate: what is known of it.
        now: until when a version's time on the staging stack counts.
    """
    service = stack.services[name]
    gates = service.gates
    return (
        _better(gates.better_than_stable, candidate),
        _latency(gates.latency_p99_ms, candidate, service.slo.error_rate),
        *_fairness(gates.fairness, candidate),
        _staging(gates.staging, name, stack, candidate, now),
        _card(service),
        _profile(service, candidate),
    )


def may_force(service: Service) -> bool:
    """Whether policy lets a person pass a failed gate: as declared, else where risk is not high."""
    declared = service.gates.allow_force
    return service.risk != "high" if declared is None else declared


def force(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Passes what failed; it stays visible as forced."""
    return tuple(replace(it, state="forced") if it.state == "failed" else it for it in gates)


def _better(declared: BetterThanStable | None, candidate: Candidate) -> Gate:
    name = "betterThanStable"
    if declared is None:
        return Gate(name, "not declared", "no paired test against stable")
    if candidate.stable is None:
        return Gate(name, "passed", "there is no stable version yet to be compared with")
    ours = _of(candidate.logged.evaluation, candidate.digest, "the candidate's evaluation")
    theirs = _of(candidate.stable, candidate.stable_digest, "stable's evaluation")
    missing = [it.why for it in (ours, theirs) if isinstance(it, Missing)]
    if isinstance(ours, Missing) or isinstance(theirs, Missing):
        return Gate(name, "failed", "; ".join(missing))
    if wrong := _not_comparable(ours, theirs, declared.metric):
        return Gate(name, "failed", wrong)
    values = _values(ours, declared.metric), _values(theirs, declared.metric)
    said = compare(*values, declared.margin, declared.alpha)
    shown = f"{declared.metric} on the same {said.examples:,} examples: {said.why} ({said.test}"
    return _judged(name, said.shown, f"{shown}, level {declared.alpha:g})")


def _not_comparable(ours: Evaluation, theirs: Evaluation, metric: str) -> str | None:
    for whose, evaluation in (("the candidate's", ours), ("stable's", theirs)):
        if metric not in evaluation.metrics:
            there = ", ".join(evaluation.metrics)
            return f"{whose} evaluation has no metric {metric}; it has {there}"
    if ours.data_hash != theirs.data_hash:
        return "both were evaluated on different data: their dataHash differs"
    if only := {*ours.ids} ^ {*theirs.ids}:
        return f"both were evaluated on different examples: {len(only)} are in one of them only"
    if ours.metrics[metric].better != theirs.metrics[metric].better:
        return f"the evaluations disagree on which values of {metric} are better"
    return None


def _values(evaluation: Evaluation, metric: str) -> Values:
    """Returns a metric's values in the order of the ids, higher is better."""
    logged = evaluation.metrics[metric]
    values = np.array(logged.values, dtype=float)[np.argsort(np.array(evaluation.ids))]
    if logged.better == "higher":
        return values
    # Right or wrong stays 0 or 1 when it is counted the other way.
    return 1 - values if {*np.unique(values)} <= {0.0, 1.0} else -values


def _latency(bound_ms: float | None, candidate: Candidate, most_failed: float) -> Gate:
    name = "latencyP99Ms"
    if bound_ms is None:
        return Gate(name, "not declared", "no bound of the latency under load")
    test = _of(candidate.logged.load_test, candidate.digest, "the load test")
    if isinstance(test, Missing):
        return Gate(name, "failed", test.why)
    problems: list[str] = []
    if test.p99_ms > bound_ms:
        problems.append(f"above {bound_ms:g} ms")
    if test.requests < FEWEST_FOR_P99:
        problems.append(f"too few requests for a p99, {FEWEST_FOR_P99:,} are needed")
    if test.failed > most_failed * test.requests:
        problems.append(f"{test.failed:,} failed, more than slo.errorRate {most_failed:g} allows")
    measured = (
        f"p99 {test.p99_ms:g} ms of {test.requests:,} requests "
        f"at {test.requests_per_second:g} a second"
    )
    return _judged(name, not problems, "; ".join([measured, *problems]))


def _fairness(bounds: Sequence[FairnessBound], candidate: Candidate) -> Iterator[Gate]:
    if not bounds:
        yield Gate("fairness", "not declared", "no bounds of fairness metrics")
    fairness = _of(candidate.logged.fairness, candidate.digest, "the fairness metrics")
    for bound in bounds:
        name = f"fairness {bound.metric}"
        if isinstance(fairness, Missing):
            yield Gate(name, "failed", fairness.why)
            continue
        value = fairness.metrics.get(bound.metric)
        if value is None:
            there = ", ".join(fairness.metrics)
            yield Gate(name, "failed", f"was not logged; logged are {there}")
            continue
        inside = (bound.min is None or value >= bound.min) and (
            bound.max is None or value <= bound.max
        )
        limits = (
            f"{'' if bound.min is None else bound.min} to {'' if bound.max is None else bound.max}"
        )
        yield _judged(name, inside, f"{value:g}, allowed are {limits.strip()}")


def _staging(
    declared: Staging | None, name: str, stack: Stack, candidate: Candidate, now: datetime
) -> Gate:
    if declared is None or candidate.rehearsal is None:
        return Gate("staging", "not declared", "no other stack that it has to pass first")
    there, log = candidate.rehearsal.stack, candidate.rehearsal.log
    if isinstance(there, Missing):
        return Gate("staging", "failed", there.why)
    if name not in there.services:
        return Gate("staging", "failed", f"stack {declared.stack} declares no service {name}")
    problems = [
        *_not_stable(declared, log, candidate.digest, now),
        *_other_runtime(name, stack, there),
    ]
    rollout = there.services[name].rollout
    if rollout and any(it.digest == candidate.digest for it in rollout.rejected):
        problems.append("this digest was taken back there")
    if declared.rollback_drill and not any(_is_drill(line, candidate.digest) for line in log):
        problems.append("no rollback was tried there: modelramp rollback --why 'drill: ...'")
    said = "; ".join(problems) or f"stable there for {format_duration(declared.bake_seconds)}"
    return _judged("staging", not problems, f"{declared.stack}: {said}")


def _not_stable(
    declared: Staging, log: Sequence[Mapping[str, Any]], digest: str, now: datetime
) -> Iterator[str]:
    stretches = [*_stable_seconds(log, digest, now)]
    if not stretches:
        yield "this digest was never promoted there"
    elif max(stretches) < declared.bake_seconds:
        longest = format_duration(float(int(max(stretches))))
        needed = format_duration(declared.bake_seconds)
        yield f"was stable there for {longest} only, {needed} are needed"


def _stable_seconds(
    log: Sequence[Mapping[str, Any]], digest: str, now: datetime
) -> Iterator[float]:
    """Yields for how long a digest was stable, each time that it was."""
    since: datetime | None = None
    for line in log:
        ours, at = line.get("digest") == digest, datetime.fromisoformat(line["at"])
        # The first version of a service is stable without a rollout.
        first = line["verdict"] in ("deploy", "start") and line["candidate"] is None
        begins = first or line["verdict"] == "promote"
        ends = line["verdict"] == "rollback" if ours else line["verdict"] == "promote"
        if ours and begins and not ends and since is None:
            since = at
        elif ends and since is not None:
            yield (at - since).total_seconds()
            since = None
    if since is not None:
        yield (now - since).total_seconds()


def _other_runtime(name: str, stack: Stack, there: Stack) -> Iterator[str]:
    here, other = stack.services[name].runtime, there.services[name].runtime
    pairs = [("runtime.kind", here.kind, other.kind), ("runtime.image", here.image, other.image)]
    if here.kind == "mlflow":
        pairs.append(("serverImage", stack.cluster.server_image, there.cluster.server_image))
    for what, ours, theirs in pairs:
        if ours != theirs:
            yield f"{what} differs: {theirs} there, {ours} here"


def _is_drill(line: Mapping[str, Any], digest: str) -> bool:
    rolled_back = line["verdict"] == "rollback"
    reason = str(line.get("reason", "")).lower()
    return rolled_back and (line.get("digest") == digest or reason.startswith("drill"))


def _card(service: Service) -> Gate:
    name = "modelCard"
    if not service.gates.model_card:
        return Gate(name, "not declared", "no model card is asked for")
    if service.card is None:
        return Gate(name, "failed", "card is missing; give purpose, data, limits and contact")
    needed = ("purpose", "data", "limits", "contact")
    empty = [it for it in needed if not getattr(service.card, it).strip()]
    return _judged(name, not empty, f"card.{', '.join(empty)} is empty" if empty else "complete")


def _profile(service: Service, candidate: Candidate) -> Gate:
    name = "referenceProfile"
    # No other runtime counts what a profile is compared with.
    watched = "drift" in service.model_fields_set and service.runtime.kind == "mlflow"
    if not service.gates.reference_profile or not watched:
        return Gate(name, "not declared", "no drift is declared that would need one")
    missing = "the artifact holds none; store one with rollout.registry.store_profile"
    return _judged(name, candidate.has_profile, "present" if candidate.has_profile else missing)


def _of(evidence: T | Missing, digest: str | None, what: str) -> T | Missing:
    """Returns evidence only if it is of this artifact."""
    if isinstance(evidence, Missing):
        return Missing(f"{what}: {evidence.why}")
    if evidence.digest != digest:
        return Missing(f"{what} is of another artifact, {evidence.digest}; log it again")
    return evidence


def _judged(name: str, passed: bool, says: str) -> Gate:
    return Gate(name, "passed" if passed else "failed", says)
