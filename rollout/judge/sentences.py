"""Verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.judge.verdict import MetricVerdict, Shown

STILL_NEEDED = "; still needed: "
"""In a reason, before what a verdict that holds waits for."""

_SAYS = {
    "errorRate": "fails {} of requests",
    "latency": "is slow on {} of requests",
    "accuracy": "is wrong on {} of labelled requests",
}


def bad_answers(name: str, shown: Shown) -> str:
    """Says how a version did: `fails 2.10% of requests`."""
    if shown.bad is None:
        return f"has a mean of {shown.rate:.4g} in {name}"
    return _SAYS.get(name, f"is bad in {name} on {{}} of requests").format(percentage(shown.rate))


def percentage(rate: float | None) -> str:
    """Writes a share with two digits after the point."""
    return "none" if rate is None else f"{rate:.2%}"


def points(share: float) -> str:
    """Writes a difference of shares, with two digits after the point or one."""
    written = f"{100 * share:.2f}"
    return f"{written.removesuffix('0')} points"


def size(metric: MetricVerdict, difference: float) -> str:
    """Writes a difference of a metric, in points or in its unit."""
    return f"{difference:.4g}" if metric.stable.bad is None else points(difference)


def harm(metric: MetricVerdict, ratio: float | None) -> str:
    """Says what was proved and with which error.

    Args:
        metric: a harmful one.
        ratio: at least so many times stable's rate, at the same level; None where not known.
    """
    least = metric.margin if metric.lower is None else max(metric.lower, metric.margin)
    stable = metric.stable
    theirs = f"{stable.rate:.4g}" if stable.bad is None else percentage(stable.rate)
    at_least = size(metric, least) + (f" and {ratio:.2g} times as bad at least" if ratio else "")
    more = "more than" if least == metric.margin else "at least"
    return (
        f"candidate {bad_answers(metric.name, metric.candidate)} ({metric.candidate.total:,}), "
        f"stable {theirs} ({stable.total:,}); with error {metric.alpha:.2%} at most it is worse "
        f"by {more} {at_least}, the margin is {size(metric, metric.margin)}"
    )


def advance(metrics: Sequence[MetricVerdict], requests: int, beta: float) -> str:
    """Says why a rollout may go on."""
    ruled_out = [
        f"{metric.name} worse by {size(metric, metric.margin)}"
        for metric in metrics
        if metric.ruled_out
    ]
    shown = f"; ruled out at {beta:.0%}: {', '.join(ruled_out)}" if ruled_out else ""
    return f"{requests:,} requests at this step and no harm found{shown}"


def span(seconds: float) -> str:
    """Writes a time as a person would say it."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s"
