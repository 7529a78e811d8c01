"""Reads what the versions did from Prometheus: exact counts per interval, and the true weights.

Counters are read at the edges of the grid and subtracted, series by series, so that counts are
whole numbers; `increase()` extrapolates and would make fractions. A counter that fell was reset:
what it shows then is the count since.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from models.errors import MetricsError
from models.metric_sources import METRIC_SOURCES
from models.names import DECLARED_PERCENT
from models.service import Service
from rollout.judge import Arm, Categories, Counts, Observations
from rollout.judge.compare import PREDICTIONS
from rollout.judge.series import Floats, Mask

COUNTERS = (
    "requests",
    "routed",
    "errors",
    "latency_count",
    "latency_bucket",
    "labelled",
    "correct",
    "predictions",
    "features",
    "reference",
    "ready",
)

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
        labels = f'namespace="{self.namespace}",service="{self.name}",version="{version}"'
        series = self._samples(f"{DECLARED_PERCENT}{{{labels}}}")
        if len(series) > 1:
            raise MetricsError(f"{DECLARED_PERCENT} of {self.name} {version} is recorded twice")
        return next(iter(series.values()), np.full(self.intervals + 1, np.nan))

    def arm(self, version: str) -> Arm:
        """Returns the counts of one version, shape (intervals,) each."""
        read = {counter: self._counter(counter, version) for counter in COUNTERS}
        routed, requests = read["routed"], read["requests"]
        answered = total(read["latency_count"], self.intervals)
        labelled = total(read["labelled"], self.intervals)
        by_metric = {
            # Envoy makes a series of answers by class with the first answer of that class.
            "errorRate": Counts(
                total(read["errors"], self.intervals, beside=routed),
                total(requests, self.intervals, beside=routed),
            ),
            "latency": Counts(answered - total(read["latency_bucket"], self.intervals), answered),
            "accuracy": Counts(labelled - total(read["correct"], self.intervals), labelled),
        }
        counted = {PREDICTIONS: read["predictions"], **_by_label(read["features"], "feature")}
        categories = {name: self._categories(series) for name, series in counted.items() if series}
        return Arm(
            version,
            by_metric,
            total(routed, self.intervals),
            categories=categories,
            reference=_reference(read["reference"], categories),
            ready=_ready(read["ready"]),
        )

    def _categories(self, series: Series) -> Categories:
        by_bucket = _by_label(series, "bucket")
        names = tuple(sorted(by_bucket, key=_upper_edge))
        counts = [total(by_bucket[name], self.intervals, beside=series) for name in names]
        return Categories(names, np.stack(counts, axis=1))

    def _counter(self, counter: str, version: str) -> Series:
        """Returns the series of a counter; none where the runtime does not tell."""
        source = METRIC_SOURCES[self.service.runtime.kind]
        if not source.has(counter):
            return {}
        selector = source.selector(
            counter,
            namespace=self.namespace,
            service=self.name,
            version=version,
            edge_ms=self.service.slo.latency.threshold_ms,
        )
        return self._samples(selector)

    def _samples(self, query: str) -> Series:
        end = self.start + timedelta(seconds=self.step_seconds * self.intervals)
        return self.metrics.samples(query, self.start, end, self.step_seconds)


def collect(
    services: Mapping[str, Service], namespace: str, metrics: Metrics, now: datetime
) -> dict[str, Observations | MetricsError]:
    """Returns both arms' counts of services in a rollout, from the first move to now.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    return {name: _collect(name, it, namespace, metrics, now) for name, it in services.items()}


def _collect(
    name: str, service: Service, namespace: str, metrics: Metrics, now: datetime
) -> Observations:
    """Returns both arms' counts from the first move to now, on the grid of the service's judge.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    rollout = service.rollout
    if rollout is None or rollout.candidate is None or rollout.started_at is None:
        raise ValueError("collect needs a service in a rollout")
    # Prometheus's client rounds the start to whole seconds.
    start = rollout.started_at.astimezone(UTC).replace(microsecond=0)
    step_seconds = service.judge.interval_seconds
    intervals = max(int((now - start).total_seconds() // step_seconds), 1)
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


def total(series: Series, intervals: int, *, beside: Series | None = None) -> Floats:
    """Returns the counts of all series together, shape (intervals,).

    A series that begins counts from 0 where the scrape is known to have worked: where another one
    has a sample, of this counter or of one `beside` it.
    """
    values = np.array([*series.values()]).reshape(-1, intervals + 1)
    witnesses = np.array([*series.values(), *(beside or {}).values()])
    scraped: Mask = ~np.all(np.isnan(witnesses.reshape(-1, intervals + 1)), axis=0)
    values = np.where(np.isnan(values) & _before_first(values) & scraped, 0.0, values)
    increase = np.nansum([counts(row) for row in values], axis=0)
    return np.where(scraped[:-1] & scraped[1:], increase, np.nan)


def effective_weights(percents: Floats, settle_seconds: float, step_seconds: float) -> Floats:
    """Returns the percentage that held through each interval and for the settle time around it.

    The route changes before the record of it does, by as long as Prometheus takes to load a rule.

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


def _before_first(values: Floats) -> Mask:
    """Marks, per series, the samples before its first one."""
    return np.cumsum(~np.isnan(values), axis=1) == 0


def _by_label(series: Series, label: str) -> dict[str, dict[tuple[tuple[str, str], ...], Floats]]:
    """Groups series by the value of a label."""
    groups: dict[str, dict[tuple[tuple[str, str], ...], Floats]] = {}
    for key, row in series.items():
        groups.setdefault(dict(key).get(label, ""), {})[key] = row
    return groups


def _upper_edge(bucket: str) -> tuple[float, str]:
    """Orders the buckets of numbers, `(1.5,2]`, by their upper edge, all else by name behind."""
    match = re.fullmatch(r"\(.+,(.+)\]", bucket)
    return (float(match[1]) if match else math.inf, bucket)


def _reference(series: Series, categories: Mapping[str, Categories]) -> dict[str, Floats]:
    """Returns the shares at training time of what was counted, in the order of its buckets."""
    shares: dict[tuple[str, str], float] = {}
    for key, row in series.items():
        labels = dict(key)
        name = PREDICTIONS if labels.get("kind") == "prediction" else labels.get("feature", "")
        known = row[~np.isnan(row)]
        if len(known):
            shares[name, labels.get("bucket", "")] = float(known[-1])
    return {
        name: np.array([shares[name, bucket] for bucket in counted.names])
        for name, counted in categories.items()
        if all((name, bucket) in shares for bucket in counted.names)
    }


def _ready(series: Series) -> Floats | None:
    """Returns 1 where any endpoint could take requests at the end of an interval, 0 where none."""
    if not series:
        return None
    endpoints = np.array([*series.values()])[:, 1:]
    known = ~np.all(np.isnan(endpoints), axis=0)
    return np.where(known, (np.nansum(endpoints, axis=0) > 0).astype(float), np.nan)
