"""Plots of the rollouts that are going on: what a verdict stood on, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from models.errors import MetricsError
from models.stack import Stack
from rollout import report
from rollout.collect import Metrics
from rollout.drift_check import Outcome
from rollout.evidence import evidence
from rollout.grid import grid_at


def plots_page(
    outcomes: Sequence[Outcome], stack: Stack, name: str, metrics: Metrics, now: datetime
) -> str:
    """Returns an HTML page with a part for each outcome that has a verdict.

    Args:
        outcomes: of one round of drift-check.
        stack: as it was decided on.
        name: of the stack.
        metrics: where counts come from; what they can't tell is said in place of the plot.
        now: the end of what is plotted.
    """
    judged = [it for it in outcomes if it.verdict]
    services = [_part(it, stack, metrics, now) for it in judged]
    at = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    return report.page("plots.html.j2", stack=name, at=at, services=services)


def _part(outcome: Outcome, stack: Stack, metrics: Metrics, now: datetime) -> dict[str, Any]:
    assert outcome.verdict is not None  # noqa: S101  chosen by it
    return {
        "service": outcome.service,
        "headline": f"candidate {outcome.candidate}, {outcome.from_percent}% to "
        f"{outcome.to_percent}%, beside {outcome.stable}",
        "verdict": outcome.verdict.kind,
        "reason": outcome.verdict.reason,
        "plot": _plot(outcome, stack, metrics, now),
        "evidence": evidence(outcome),
        "beta": stack.services[outcome.service].judge.beta,
    }


def _plot(outcome: Outcome, stack: Stack, metrics: Metrics, now: datetime) -> str:
    service = stack.services[outcome.service]
    versions = [it for it in (outcome.stable, outcome.candidate) if it]
    start = service.rollout.started_at if service.rollout else None
    if start is None:
        return "It has not begun."
    try:
        timeline = report.read_timeline(
            outcome.service,
            service,
            versions,
            stack.cluster.namespace,
            metrics,
            start=start,
            grid=grid_at(start, now, service.judge.interval_seconds),
        )
    except MetricsError as error:
        return str(error)
    return report.svg(report.figure(timeline, [(now, outcome)], service, start))
