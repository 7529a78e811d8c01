"""One round of drift-check: collect, judge, plan, edit, log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import MetricsError, StackFileError
from models.service import Service
from models.stack import Stack, find_service, load_stack
from models.strategy import BlueGreen
from rollout import history
from rollout.collect import Metrics, collect
from rollout.declare import write_edit
from rollout.edits import Edit, to_percent
from rollout.judge import Kind, Observations, Terms, Verdict, judge
from rollout.plan import BOT, as_people_allow, is_over, plan
from rollout.smoke import NO_GATEWAY, smoke_test

AFTER_SMOKE: Mapping[str, Kind] = {"passed": "advance", "failed": "revert", "unknown": "hold"}
"""Verdict by the result of smoke tests."""


@dataclass(frozen=True)
class Outcome:
    """What one round did for one service.

    Attributes:
        service: its name.
        verdict: what was decided; None where no rollout is going on.
        edit: what was written to the stack file (with `dry_run`: what would have been).
        stable: version.
        candidate: version.
        from_percent: the candidate's share before.
        to_percent: the candidate's share after.
    """

    service: str
    verdict: Verdict | None
    edit: Edit | None
    stable: str | None
    candidate: str | None
    from_percent: int
    to_percent: int


def drift_check(
    stack_file: Path,
    stack: str,
    metrics: Metrics,
    *,
    only: str | None = None,
    dry_run: bool = False,
    gateway_url: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Outcome]:
    """Judges every service in a rollout and edits the stack file.

    Where somebody changed a service while it was judged, nothing is written of it: it holds.

    Args:
        stack_file: `Pulumi.<stack>.yaml`.
        stack: its name.
        metrics: where counts come from.
        only: this service alone.
        dry_run: decide, but write nothing.
        gateway_url: where smoke tests are sent; where absent, what needs them holds.
        clock: the time of the decisions.

    Raises:
        ConfigError: the stack file is wrong, or declares no service `only`.
    """
    declared = load_stack(stack_file)
    if only is not None:
        find_service(declared, only, stack_file)
    now = clock()
    names = [name for name in declared.services if only in (None, name)]
    verdicts = _verdicts(names, declared, metrics, gateway_url, now)
    for name in names:
        verdict = verdicts.get(name)
        edit = plan(name, declared, verdict, now)
        outcome = outcome_of(name, declared, verdict, edit)
        if edit is not None and not dry_run:
            try:
                write_edit(stack_file, stack, name, declared, edit, now, by=BOT, verdict=verdict)
            except StackFileError as error:
                yield outcome_of(name, declared, Verdict("hold", str(error)), None)
                continue
        yield outcome


def outcome_of(name: str, stack: Stack, verdict: Verdict | None, edit: Edit | None) -> Outcome:
    """Returns what a verdict, a person or the time led to; `stack` is as it was before."""
    rollout = stack.services[name].rollout
    percent = rollout.percent if rollout else 0
    return Outcome(
        service=name,
        verdict=verdict,
        edit=edit,
        stable=rollout.stable if rollout else None,
        candidate=rollout.candidate if rollout else None,
        from_percent=percent,
        to_percent=to_percent(edit, percent) if edit else percent,
    )


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Returns an outcome for machines."""
    return {
        "service": outcome.service,
        "stable": outcome.stable,
        "candidate": outcome.candidate,
        "from": outcome.from_percent,
        "to": outcome.to_percent,
        "edit": outcome.edit and {"kind": type(outcome.edit).__name__, **asdict(outcome.edit)},
        **(history.as_json(outcome.verdict) if outcome.verdict else {"verdict": None}),
    }


def _verdicts(
    names: list[str], stack: Stack, metrics: Metrics, gateway_url: str | None, now: datetime
) -> Mapping[str, Verdict]:
    """Returns the verdict on each service in a rollout, as people allow it."""
    judged = {name: stack.services[name] for name in names if not is_over(stack.services[name])}
    if not judged:
        return {}
    try:
        seen = collect(judged, stack.cluster.namespace, metrics, now)
    except MetricsError as error:
        return dict.fromkeys(judged, Verdict("no-data", str(error)))

    def verdict(name: str, found: Observations | MetricsError) -> Verdict:
        if isinstance(found, MetricsError):
            return Verdict("no-data", str(found))
        judgement = judge(Terms.of(judged[name]), found, now)
        judgement = _as_smoke_allows(judgement, name, judged[name], gateway_url)
        return as_people_allow(judgement, name, stack, now)

    return {name: verdict(name, seen[name]) for name in judged}


def _as_smoke_allows(
    verdict: Verdict, name: str, service: Service, gateway_url: str | None
) -> Verdict:
    """Returns the verdict after the smoke tests that stand before a switch from 0."""
    rollout, strategy = service.rollout, service.strategy
    if verdict.kind != "advance" or rollout is None or rollout.percent:
        return verdict
    if not isinstance(strategy, BlueGreen) or not strategy.smoke:
        return verdict
    requests = strategy.smoke
    smoked = smoke_test(name, service, requests, gateway_url) if gateway_url else NO_GATEWAY
    return replace(
        verdict, kind=AFTER_SMOKE[smoked.result], reason=f"{verdict.reason}; {smoked.reason}"
    )
