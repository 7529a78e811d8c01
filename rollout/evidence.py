"""What a verdict stands on, in words: for tables and reports."""

from __future__ import annotations

from rollout.drift_check import Outcome
from rollout.judge.verdict import Shown


def evidence(outcome: Outcome) -> list[dict[str, str]]:
    """Returns what a verdict stands on, a row per metric, in words."""
    verdict = outcome.verdict
    if verdict is None:
        return []
    move = f"{outcome.candidate}: {outcome.from_percent}% to {outcome.to_percent}%"
    return [
        {
            "move": f"{move}, {verdict.kind}",
            "name": metric.name,
            "stable": _ratio(metric.stable),
            "candidate": _ratio(metric.candidate),
            "difference": "none" if metric.difference is None else _points(metric.difference),
            "bounds": f"{_bound(metric.lower)} to {_bound(metric.upper)}",
            "harm": f"{_e_value(metric.e_value)} ({1 / metric.alpha:.0f})",
            "margin": f"{100 * metric.margin:g}",
            "against": _e_value(metric.margin_e_value),
            "says": "harm" if metric.harmful else "ruled out" if metric.ruled_out else "open",
        }
        for metric in verdict.metrics
    ]


def _ratio(shown: Shown) -> str:
    if shown.rate is None:
        return "none"
    if shown.bad is None:
        return f"mean {shown.rate:.4g} of {shown.total:,}"
    return f"{shown.bad:,} of {shown.total:,} ({shown.rate:.2%})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


def _bound(difference: float | None) -> str:
    return "unknown" if difference is None else f"{100 * difference:+.1f}"


def _e_value(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
