"""How long a rollout will take at today's traffic, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from models.metric_sources import METRIC_SOURCES
from models.service import Service
from rollout.collect import Metrics, counts
from rollout.judge.needed import requests_to_rule_out

WINDOW_SECONDS = 3600.0
STEP_SECONDS = 60.0


@dataclass(frozen=True)
class Traffic:
    """What the stable version has answered in the last hour.

    Attributes:
        requests: how many.
        errors: how many of them failed.
        seconds: in how long.
    """

    requests: float
    errors: float
    seconds: float


def read_traffic(
    metrics: Metrics, name: str, service: Service, namespace: str, now: datetime
) -> Traffic | None:
    """Returns the traffic of the stable version, None where there is none or nothing counts it.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    source = METRIC_SOURCES[service.runtime.kind]
    if service.rollout is None or not source.has("requests", "errors"):
        return None
    read: list[float] = []
    start = now.replace(microsecond=0) - timedelta(seconds=WINDOW_SECONDS)
    for counter in ("requests", "errors"):
        query = source.selector(
            counter, namespace=namespace, service=name, version=service.rollout.stable
        )
        series = metrics.samples(query, start, now.replace(microsecond=0), STEP_SECONDS)
        read.append(sum(float(np.nansum(counts(row))) for row in series.values()))
    return Traffic(read[0], read[1], WINDOW_SECONDS) if read[0] else None


def rollout_seconds(service: Service, traffic: Traffic) -> float | None:
    """Returns the time until a candidate as good as stable is at 100%, None where it never is.

    A step takes its bake time, or longer where its requests come slowly. Only errors are counted:
    what other metrics take is not known before the candidate has answered.
    """
    rate = traffic.errors / traffic.requests
    pace = traffic.requests / traffic.seconds
    total, strategy = 0.0, service.strategy
    for step in strategy.walk:
        if step.percent == 100:
            continue
        share, needed = step.percent / 100, service.judge.min_requests
        if strategy.evidence_at(step.percent) == "margin":
            margin = service.margin.error_rate
            more = requests_to_rule_out((rate, rate), margin, share, service.judge.beta)
            if more is None:
                return None
            needed = max(needed, more)
        settle = service.judge.settle_seconds
        total += max(strategy.bake_at(step.percent), needed / (pace * share)) + settle
    return total if strategy.walk else None
