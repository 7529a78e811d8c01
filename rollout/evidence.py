"""What a verdict stands on, in words: for tables and reports."""

from __future__ import annotations

from rollout.drift_check import Outcome
from rollout.judge.verdict import MetricVerdict, Shown, Verdict


def evidence(outcome: Outcome) -> list[dict[str, str]]:
    """Returns what an outcome stands on, a row per metric, in words, with the move it led to."""
    if outcome.verdict is None:
        return []
    percents = f"{outcome.from_percent}% to {outcome.to_percent}%"
    move = f"{outcome.candidate}: {percents}, {outcome.verdict.kind}"
    return [{"move": move, **row} for row in rows(outcome.verdict)]


def rows(verdict: Verdict) -> list[dict[str, str]]:
    """Returns what a verdict stands on, a row per metric, in words."""
    return [
        {
            "name": metric.name,
            "stable": _ratio(metric.stable),
            "candidate": _ratio(metric.candidate),
            "difference": _difference(metric, metric.difference, 2),
            "bounds": f"{_difference(metric, metric.lower)} to {_difference(metric, metric.upper)}",
            "harm": f"{_e_value(metric.e_value)} ({1 / metric.alpha:.0f})",
            "margin": _size(metric, metric.margin),
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


def _difference(metric: MetricVerdict, difference: float | None, digits: int = 1) -> str:
    """Writes a difference in points, or in the unit of a quantity."""
    if difference is None:
        return "unknown"
    if metric.stable.bad is None:
        return f"{difference:+.4g}"
    return f"{100 * difference:+.{digits}f}"


def _size(metric: MetricVerdict, size: float) -> str:
    return f"{size:g}" if metric.stable.bad is None else f"{100 * size:g}"


def _e_value(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
