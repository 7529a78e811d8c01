"""Reads what the versions did from Prometheus: exact counts per interval, and the true weights.

Counters are read at the edges of the grid and subtracted, series by series, so that counts are
whole numbers; `increase()` extrapolates and would make fractions. A counter that fell was reset:
what it shows then is the count since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reader:
    """Reads the versions of one model service on one grid.

    Attributes:
        metrics: where counters come from.
        name: the model service.
        service: as declared.
        namespace: of its InferenceServices.
        start: the first edge of the grid, whole seconds.
        intervals: how many intervals the grid has.
        step_seconds: their width.
    """

    metrics: Metrics
    name: str
    service: Service
    namespace: str
    start: datetime
    intervals: int
    step_seconds: float

    def declared_percents(self, version: str) -> Floats:
        """Returns the recorded percentage at the edges, shape (intervals + 1,)."""
        series = self._samples(f'{DECLARED_PERCENT}{{service="{self.name}",version="{version}"}}')
        return next(iter(series.values()), np.full(self.intervals + 1, np.nan))

    def arm(self, version: str) -> Arm:
        """Returns the counts of one version, shape (intervals,) each."""
        requests, labelled = self._counts("requests", version), self._counts("labelled", version)
        errors, answered = self._counts("errors", version), self._counts("latency_count", version)
        by_metric = {
            # The series of errors does not exist before the first error.
            "errorRate": Counts(np.where(np.isnan(errors), 0.0 * requests, errors), requests),
            "latency": Counts(answered - self._counts("latency_bucket", version), answered),
            "accuracy": Counts(labelled - self._counts("correct", version), labelled),
        }
        predictions = self._samples(self._selector("predictions", version))
        buckets = sorted({dict(labels).get("bucket", "") for labels in predictions})
        return Arm(
            version,
            by_metric,
            {bucket: total(_of_bucket(predictions, bucket), self.intervals) for bucket in buckets},
        )

    def _counts(self, counter: str, version: str) -> Floats:
        return total(self._samples(self._selector(counter, version)), self.intervals)

    def _selector(self, counter: str, version: str) -> str:
        return METRIC_SOURCES[self.service.runtime.kind].selector(
            counter,
            namespace=self.namespace,
            service=self.name,
            version=version,
            edge_ms=self.service.slo.latency.threshold_ms,
        )

    def _samples(self, query: str) -> Series:
        end = self.start + timedelta(seconds=self.step_seconds * self.intervals)
        return self.metrics.samples(query, self.start, end, self.step_seconds)


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
    start, intervals, step_seconds = _grid(rollout.started_at, now, service.judge.interval_seconds)
    reader = Reader(metrics, name, service, namespace, start, intervals, step_seconds)
    percents = reader.declared_percents(rollout.candidate)
    return Observations(
        start=start,
        interval_seconds=step_seconds,
        weights=effective_weights(percents, service.judge.settle_seconds, step_seconds),
        declared_now=None if math.isnan(percents[-1]) else float(percents[-1]),
        stable=reader.arm(rollout.stable),
        candidate=reader.arm(rollout.candidate),
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


def _grid(start: datetime, now: datetime, wanted_seconds: float) -> tuple[datetime, int, float]:
    """Returns first edge, number and width of intervals, from the first move to now.

    The width is a multiple of the wanted one where there would be more than 500 intervals.
    """
    age_seconds = max((now - start).total_seconds(), 0.0)
    step_seconds = wanted_seconds * max(1, math.ceil(age_seconds / wanted_seconds / LARGEST_GRID))
    # Prometheus's client rounds the start to whole seconds.
    first = start.astimezone(UTC).replace(microsecond=0)
    return first, max(int(age_seconds // step_seconds), 1), step_seconds


def _before_first(values: Floats) -> Mask:
    """Marks, per series, the samples before its first one."""
    return np.cumsum(~np.isnan(values), axis=1) == 0


def _of_bucket(series: Series, bucket: str) -> Series:
    return {key: row for key, row in series.items() if dict(key).get("bucket", "") == bucket}
