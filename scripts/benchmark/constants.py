"""What the document says about the setting of the benchmark, from the constants themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rollout.simulate import Scenario
from scripts.benchmark import cells, judges, rollouts
from scripts.benchmark.measure import FOUND, MISTAKE


def constants() -> dict[str, str]:
    """Returns the setting in words, by name in the template."""
    return {
        "rates": _all(f"{rate:.1%}" for rate in cells.RATES),
        "requests": _all(f"{count}" for count in cells.REQUESTS),
        "splits": _all(cells.SPLITS),
        "steps": _all(f"{percent:g}" for percent in cells.STEPS),
        "rate_swing": f"{cells.RATE_SWING:.0%}",
        "traffic_swing": f"{cells.TRAFFIC_SWING:.0%}",
        "looks": f"{cells.LOOKS}",
        "horizons": _all(f"{looks}" for looks in cells.HORIZONS),
        "headline_requests": _all(f"{count}" for count in cells.HEADLINE_REQUESTS),
        "more_harms": _all(f"{harm:g}x" for harm in cells.MORE_HARMS),
        "wrong": _all(f"{wrong:.0%}" for wrong in cells.WRONG),
        "labels": _all(f"{labels}" for labels in cells.LABELS),
        "dependences": "; ".join(
            f"*{name}*: {_describe(scenario)}" for name, scenario in cells.DEPENDENCES.items()
        ),
        "alpha": f"{judges.ALPHA:.0%}",
        "share": f"{judges.SHARE:.2%}",
        "metrics": f"{judges.METRICS}",
        "margin": f"{cells.MARGIN_SHARE:.0%}",
        "accuracy_margin": _points(cells.ACCURACY_MARGIN),
        "slo": f"{cells.SLO_SHARE:g}",
        "flagger_threshold": f"{judges.FLAGGER_THRESHOLDS[0]}",
        "flagger_steps": f"{judges.FLAGGER_STEPS}",
        "argo_limit": f"{judges.ARGO_LIMITS[-1]}",
        "tuned_on": f"{judges.TUNED_ON:,}",
        "kayenta_every": f"{judges.KAYENTA_EVERY}",
        "confidence": f"{1 - MISTAKE:.0%}",
        "found": f"{FOUND:.0%}",
        "beta": f"{rollouts.BETA:.0%}",
        "bake": f"{rollouts.BAKE_INTERVALS}",
        "whole_metrics": "; ".join(
            f"{name} {metric.rate:.0%} with a margin of {_points(metric.margin)}, counted for "
            f"{metric.counted:.0%} of requests"
            for name, metric in rollouts.METRICS.items()
        ),
    }


def _describe(scenario: Scenario) -> str:
    return ", ".join(_dependences(scenario))


def _dependences(scenario: Scenario) -> Iterator[str]:
    for bursts in (scenario.shared_bursts, scenario.own_bursts):
        if bursts:
            yield (
                f"{bursts.factor:g} times the rate, beginning in {bursts.chance:.0%} of intervals"
            )
    if scenario.outages:
        outages = scenario.outages
        yield (
            f"{outages.rate:.0%} fail for {outages.intervals} intervals, beginning in "
            f"{outages.chance:.0%} of intervals"
        )
    if scenario.icc:
        yield "requests of one arm in one interval are so correlated"
    if scenario.users:
        users = scenario.users
        yield (
            f"requests of one user have a correlation of {users.icc:g}, activity falls as rank to "
            f"the power of -{users.exponent:g}"
        )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _all(parts: Iterable[str]) -> str:
    return ", ".join(parts)
