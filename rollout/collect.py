"""Reads what the versions did from Prometheus: exact counts per interval, and the true weights.

Counters are read at the edges of the grid and subtracted, series by series, so that counts are
whole numbers; `increase()` extrapolates and would make fractions. A counter that fell was reset:
what it shows then is the count since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from models.metric_sources import METRIC_SOURCES
from models.names import DECLARED_PERCENT
from models.service import Service
from rollout.judge import Arm, Counts, Observations
from rollout.judge.series import Floats, Mask

LARGEST_GRID = 500

Series = Mapping[tuple[tuple[str, str], ...], Floats]


class Metrics(Protocol):
    """Where counters come from."""

    def samples(self, query: str, start: datetime, end: datetime, step_seconds: float) -> Series:
        """Returns each series' values at start, start + step, ..., end; NaN where missing.

        Raises:
            MetricsError: the query could not be answered.
        """
        ...


def collect(
    name: str, service: Service, namespace: str, metrics: Metrics, now: datetime
) -> Observations:
    """Returns both arms' counts from the first move to now, on the grid of the service's judge.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    rollout = service.rollout
    if rollout is None or rollout.candidate is None or rollout.started_at is None:
        raise ValueError("collect needs a service in a rollout")
    step, edges = _grid(rollout.started_at, now, service.judge.interval_seconds)
    start, end = edges[0], edges[-1]
    source = METRIC_SOURCES[service.runtime.kind]

    def read(counter: str, version: str) -> Floats:
        """Counts per interval, shape (T,), of all series of one counter."""
        selector = source.selector(
            counter,
            namespace=namespace,
            service=name,
            version=version,
            edge_ms=service.slo.latency.threshold_ms,
        )
        return total(metrics.samples(selector, start, end, step), len(edges) - 1)

    def arm(version: str) -> Arm:
        requests, labelled = read("requests", version), read("labelled", version)
        errors, answered = read("errors", version), read("latency_count", version)
        by_metric = {
            # The series of errors does not exist before the first error.
            "errorRate": Counts(np.where(np.isnan(errors), 0.0 * requests, errors), requests),
            "latency": Counts(answered - read("latency_bucket", version), answered),
            "accuracy": Counts(labelled - read("correct", version), labelled),
        }
        selector = source.selector(
            "predictions", namespace=namespace, service=name, version=version
        )
        return Arm(version, by_metric, _by_bucket(metrics.samples(selector, start, end, step)))

    declared = metrics.samples(
        f'{DECLARED_PERCENT}{{service="{name}",version="{rollout.candidate}"}}', start, end, step
    )
    percents = next(iter(declared.values()), np.full(len(edges), np.nan))
    return Observations(
        start=start,
        interval_seconds=step,
        weights=effective_weights(percents, service.judge.settle_seconds, step),
        declared_now=None if math.isnan(percents[-1]) else float(percents[-1]),
        stable=arm(rollout.stable),
        candidate=arm(rollout.candidate),
    )


def counts(samples: Floats) -> Floats:
    """Returns the increase of one counter between neighbouring samples, shape (T - 1,)."""
    before, after = samples[:-1], samples[1:]
    return np.where(after >= before, after - before, after)


def total(series: Series, intervals: int) -> Floats:
    """Returns the counts of all series together, shape (intervals,).

    A series that begins counts from 0 where another one shows that the scrape worked.
    """
    if not series:
        return np.full(intervals, np.nan)
    values = np.stack(list(series.values()))
    scraped: Mask = ~np.all(np.isnan(values), axis=0)
    values = np.where(np.isnan(values) & _before_first(values) & scraped, 0.0, values)
    each = np.stack([counts(row) for row in values])
    known = scraped[:-1] & scraped[1:]
    return np.where(known, np.nansum(each, axis=0), np.nan)


def effective_weights(percents: Floats, settle_seconds: float, step_seconds: float) -> Floats:
    """Returns the percentage that held through each interval and for the settle time around it.

    Traffic moves a moment before the recorded percentage does, so the settle time counts both ways.

    Args:
        percents: recorded percentage at the edges, shape (T + 1,); NaN where missing.
        settle_seconds: time before and after a change of which nothing counts.
        step_seconds: width of an interval.

    Returns:
        shape (T,): NaN where it changed, is not known, or has not settled.
    """
    lag = math.ceil(settle_seconds / step_seconds)
    weights = np.where(percents[:-1] == percents[1:], percents[1:], np.nan)
    changed = np.flatnonzero(percents[:-1] != percents[1:])  # NaN differs from everything
    for index in changed:
        weights[max(index - lag, 0) : index + 1 + lag] = np.nan
    # Before the first recorded sample nothing is known; the first move itself is a change.
    weights[:lag] = np.nan
    return weights


def _grid(start: datetime, now: datetime, wanted_seconds: float) -> tuple[float, list[datetime]]:
    """Returns the width and the edges of the grid, from the first move, at most 500 intervals."""
    age = max((now - start).total_seconds(), 0.0)
    step = wanted_seconds * max(1, math.ceil(age / wanted_seconds / LARGEST_GRID))
    begin = start.astimezone(UTC).replace(microsecond=0)  # the client rounds to whole seconds
    return step, [
        begin + timedelta(seconds=step * index) for index in range(max(int(age // step), 1) + 1)
    ]


def _before_first(values: Floats) -> Mask:
    """Marks, per series, the samples before its first one."""
    return np.cumsum(~np.isnan(values), axis=1) == 0


def _by_bucket(series: Series) -> dict[str, Floats]:
    """Returns counts per interval by the label `bucket`."""
    buckets: dict[str, list[Floats]] = {}
    for labels, values in series.items():
        buckets.setdefault(dict(labels).get("bucket", ""), []).append(counts(values))
    return {bucket: _sum(rows) for bucket, rows in sorted(buckets.items())}


def _sum(rows: Sequence[Floats]) -> Floats:
    return np.nansum(np.stack(rows), axis=0)
