"""How long a rollout will take at today's traffic, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from models.service import Service
from rollout.collect import Asked, Metrics, read
from rollout.grid import even_grid
from rollout.judge.needed import requests_to_rule_out
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY

WINDOW = timedelta(hours=1)
STEP_SECONDS = 60.0


@dataclass(frozen=True)
class Traffic:
    """What the stable version has answered lately.

    Attributes:
        requests_per_second: on average.
        rates: share of bad answers, by metric.
        answers_per_request: how many answers a metric counts a request; labels come for some only.
    """

    requests_per_second: float
    rates: Mapping[str, float]
    answers_per_request: Mapping[str, float]


def read_traffic(
    metrics: Metrics, name: str, service: Service, namespace: str, now: datetime
) -> Traffic | None:
    """Returns the traffic of the last hour, as far as it was counted; None where there was none.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    if service.rollout is None:
        return None
    grid = even_grid(now - WINDOW, now, STEP_SECONDS)
    asked = Asked(name, service.rollout.stable, service, grid)
    counted = read([asked], namespace, metrics)[asked.key].arm().metrics
    totals = {it: float(np.nansum(counts.total)) for it, counts in counted.items()}
    requests = totals.get(ERRORS, 0.0)
    if not requests:
        return None
    seconds = STEP_SECONDS * int(np.sum(~np.isnan(counted[ERRORS].total)))
    known = {it: counts for it, counts in counted.items() if totals[it]}
    return Traffic(
        requests / seconds,
        {it: float(np.nansum(counts.bad)) / totals[it] for it, counts in known.items()},
        {it: min(totals[it] / requests, 1.0) for it in known},
    )


def rollout_seconds(service: Service, traffic: Traffic) -> float | None:
    """Returns the time until a candidate as good as stable is at 100%, None where it never is.

    A step takes its bake time, or longer where the requests that it needs come slowly.
    """
    strategy = service.strategy
    total = 0.0
    for step in strategy.walk:
        if step.percent == 100:
            continue
        share, needed = step.percent / 100, float(service.judge.min_requests)
        if strategy.evidence_at(step.percent) == "margin":
            more = _requests_to_show(service, traffic, share)
            if more is None:
                return None
            needed = max(needed, more)
        pace = traffic.requests_per_second * share
        total += max(strategy.bake_at(step.percent), needed / pace) + service.judge.settle_seconds
    return total if strategy.walk else None


def _requests_to_show(service: Service, traffic: Traffic, share: float) -> float | None:
    """Returns how many of the candidate's requests rule its margins out, all of them."""
    margins = {ERRORS: service.margin.error_rate, LATENCY: service.margin.latency}
    if service.slo.accuracy is not None:
        margins[ACCURACY] = service.margin.accuracy
    needed = 0.0
    for metric, margin in margins.items():
        if metric not in traffic.rates:
            return None
        rate = traffic.rates[metric]
        answers = requests_to_rule_out((rate, rate), margin, share, service.judge.beta)
        if answers is None:
            return None
        needed = max(needed, answers / traffic.answers_per_request[metric])
    return needed
