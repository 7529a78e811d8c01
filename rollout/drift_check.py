"""One round of drift-check: collect, judge, plan, edit, log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from models.errors import MetricsError, StackFileError
from models.service import Service
from models.stack import Stack, find_service, load_stack
from rollout import history
from rollout.collect import Metrics, collect
from rollout.judge import Terms, Verdict, judge
from rollout.plan import AddMove, Edit, as_people_allow, is_over, plan
from rollout.stack_file import apply_edit


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
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Outcome]:
    """Judges every service in a rollout and edits the stack file.

    Where somebody changed a rollout while it was judged, nothing is written: it holds.

    Args:
        stack_file: `Pulumi.<stack>.yaml`.
        stack: its name.
        metrics: where counts come from.
        only: this service alone.
        dry_run: decide, but write nothing.
        clock: the time of each decision.

    Raises:
        ConfigError: the stack file is wrong, or declares no service `only`.
    """
    declared = load_stack(stack_file)
    if only is not None:
        find_service(declared, only, stack_file)
    for name, service in declared.services.items():
        if only in (None, name):
            verdict, edit, now = _decide(name, service, declared, metrics, clock)
            outcome = _outcome(name, service, verdict, edit)
            if edit is not None and verdict is not None and service.rollout and not dry_run:
                try:
                    apply_edit(stack_file, name, service.rollout, edit, now)
                except StackFileError as error:
                    yield _outcome(name, service, Verdict("hold", str(error)), None)
                    continue
                _log(stack_file, stack, outcome, verdict, now)
            yield outcome


def _decide(
    name: str,
    service: Service,
    stack: Stack,
    metrics: Metrics,
    clock: Callable[[], datetime],
) -> tuple[Verdict | None, Edit | None, datetime]:
    now = clock()
    if is_over(service):
        return None, None, now
    try:
        seen = collect(name, service, stack.cluster.namespace, metrics, now)
    except MetricsError as error:
        return Verdict("no-data", str(error)), None, now
    verdict = as_people_allow(judge(Terms.of(service), seen, now), service, stack.calendar, now)
    return verdict, plan(service, verdict), now


def _outcome(
    name: str,
    service: Service,
    verdict: Verdict | None,
    edit: Edit | None,
) -> Outcome:
    rollout = service.rollout
    percent = rollout.percent if rollout else 0
    return Outcome(
        service=name,
        verdict=verdict,
        edit=edit,
        stable=rollout.stable if rollout else None,
        candidate=rollout.candidate if rollout else None,
        from_percent=percent,
        to_percent=edit.percent if isinstance(edit, AddMove) else percent,
    )


def _log(stack_file: Path, stack: str, outcome: Outcome, verdict: Verdict, now: datetime) -> None:
    line = history.line_of(
        now,
        outcome.service,
        (outcome.stable, outcome.candidate),
        (outcome.from_percent, outcome.to_percent),
        # Sixty features that did not drift would drown the move.
        history.as_json(replace(verdict, drift=tuple(it for it in verdict.drift if it.drifted))),
    )
    history.append(history.history_path(stack_file, stack, outcome.service), line)
