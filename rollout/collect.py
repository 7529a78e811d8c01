"""Reads what the versions did from Prometheus: exact counts per interval, and the true weights.

Counters are read at the edges of the grid and subtracted, series by series, so that counts are
whole numbers; `increase()` extrapolates and would make fractions. A counter that fell was reset:
what it shows then is the count since. One that was reset and by the next edge has grown beyond
where it was looks as if it had not been, and counts too little; wide intervals see fewer resets.
Nor are recorded sums read: in a sum of counters the reset of one is hidden by the growth of the
others, or looks like a reset of all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from models.errors import MetricsError
from models.metric_sources import METRIC_SOURCES, MetricSource
from models.metric_sources.batch import Batch, Key
from models.names import DECLARED_PERCENT
from models.service import Service
from rollout.grid import Grid, grid_at
from rollout.judge import Arm, Categories, Counts, Observations
from rollout.judge.compare import PREDICTIONS
from rollout.judge.series import Floats, Mask

OWN = ("requests", "routed", "errors", "latency_count", "latency_bucket")
"""What the gateway counts of a version; of copies it counts the same, apart."""

OTHERS = (
    "labelled",
    "correct",
    "predictions",
    "features",
    "reference",
    "ready",
    "available",
    "scraped",
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
class Asked:
    """A version whose counts are wanted.

    Attributes:
        name: of the model service.
        version: of it.
        service: as declared.
        grid: the intervals; its edges are multiples of its width.
        copies: whether it may get copies of another version's requests.
    """

    name: str
    version: str
    service: Service
    grid: Grid
    copies: bool = False

    @property
    def key(self) -> Key:
        """Service and version."""
        return self.name, self.version


@dataclass(frozen=True)
class Read:
    """What Prometheus tells of one version.

    Attributes:
        asked: the version.
        percents: recorded percentage at the edges, shape (intervals + 1,), once for each series.
        counters: series by counter, each of shape (intervals + 1,).
    """

    asked: Asked
    percents: Series
    counters: Mapping[str, Series]

    def percent(self) -> Floats:
        """Returns the recorded percentage at the edges, shape (intervals + 1,).

        Raises:
            MetricsError: it is recorded twice.
        """
        if len(self.percents) > 1:
            raise MetricsError(
                f"{DECLARED_PERCENT} of {' '.join(self.asked.key)} is recorded twice"
            )
        unknown = np.full(self.asked.grid.intervals + 1, np.nan)
        return next(iter(self.percents.values()), unknown)

    def arm(self, copied: Mask | None = None) -> Arm:
        """Returns the counts, shape (intervals,) each.

        Args:
            copied: where the version got copies only, whose counts are its own then.
        """
        intervals = self.asked.grid.intervals
        by_metric, routed = self._answers("")
        if copied is not None and copied.any():
            mirrored, mirrored_routed = self._answers("mirrored_")
            routed = np.where(copied, mirrored_routed, routed)
            by_metric = {
                name: Counts(
                    np.where(copied, mirrored[name].bad, it.bad),
                    np.where(copied, mirrored[name].total, it.total),
                )
                for name, it in by_metric.items()
            }
        labelled = total(self.counters["labelled"], intervals)
        wrong = labelled - total(self.counters["correct"], intervals)
        counted = {
            PREDICTIONS: self.counters["predictions"],
            **_by_label(self.counters["features"], "feature"),
        }
        categories = {name: self._categories(series) for name, series in counted.items() if series}
        return Arm(
            self.asked.version,
            {**by_metric, "accuracy": Counts(wrong, labelled)},
            routed,
            categories=categories,
            reference=_reference(self.counters["reference"], categories),
            ready=_ready(self.counters["ready"], self.counters["available"]),
        )

    def _answers(self, prefix: str) -> tuple[dict[str, Counts], Floats]:
        """Returns what the gateway counted: answers by metric, and requests sent."""
        read = {name: self.counters.get(prefix + name, {}) for name in OWN}
        intervals = self.asked.grid.intervals
        routed, answered = read["routed"], total(read["latency_count"], intervals)
        by_metric = {
            # Envoy makes a series of answers by class with the first answer of that class.
            "errorRate": Counts(
                total(read["errors"], intervals, beside=routed),
                total(read["requests"], intervals, beside=routed),
            ),
            "latency": Counts(answered - total(read["latency_bucket"], intervals), answered),
        }
        return by_metric, total(routed, intervals)

    def _categories(self, series: Series) -> Categories:
        by_bucket = _by_label(series, "bucket")
        names = tuple(sorted(by_bucket, key=_upper_edge))
        intervals = self.asked.grid.intervals
        counts = [total(by_bucket[name], intervals, beside=series) for name in names]
        return Categories(names, np.stack(counts, axis=1))


def collect(
    services: Mapping[str, Service], namespace: str, metrics: Metrics, now: datetime
) -> dict[str, Observations | MetricsError]:
    """Returns both arms' counts of services in a rollout, from the first move to now.

    Of each counter one query is asked for each width of intervals, however many services there
    are. What is wrong with one service alone is its value.

    Args:
        services: in a rollout, by name.
        namespace: of their InferenceServices.
        metrics: where counters come from.
        now: the end.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    grids = {
        name: grid_at(_began(service), now, service.judge.interval_seconds)
        for name, service in services.items()
    }
    return observe(services, namespace, metrics, grids)


def observe(
    services: Mapping[str, Service], namespace: str, metrics: Metrics, grids: Mapping[str, Grid]
) -> dict[str, Observations | MetricsError]:
    """Does what `collect` does, on grids that are given, by service."""
    arms = [
        Asked(name, version, service, grids[name], copies)
        for name, service in services.items()
        for version, copies in _versions(service)
    ]
    found = read(arms, namespace, metrics)
    seen: dict[str, Observations | MetricsError] = {}
    for name, service in services.items():
        stable, candidate = (found[name, version] for version, _ in _versions(service))
        try:
            seen[name] = _observations(service, stable, candidate)
        except MetricsError as error:
            seen[name] = error
    return seen


def read(asked: Sequence[Asked], namespace: str, metrics: Metrics) -> dict[Key, Read]:
    """Reads versions; those with the same width of intervals share their queries.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    together: dict[tuple[str, float], list[Asked]] = {}
    for it in asked:
        kind, width = it.service.runtime.kind, it.grid.step_seconds
        together.setdefault((kind, width), []).append(it)
    found: dict[Key, Read] = {}
    for (kind, _), group in together.items():
        found |= _read_together(METRIC_SOURCES[kind], group, namespace, metrics)
    return found


def _read_together(
    source: MetricSource, group: Sequence[Asked], namespace: str, metrics: Metrics
) -> dict[Key, Read]:
    """Reads versions of one kind of runtime and one width of intervals, a query a counter."""

    def series(counter: str, wanted: Sequence[Asked]) -> Mapping[Key, Series]:
        if not wanted or not source.has(counter):
            return {}
        edges_ms = {it.key: it.service.slo.latency.threshold_ms for it in wanted}
        return _series(source.batch(counter, namespace, edges_ms), wanted, metrics)

    copies = [it for it in group if it.copies]
    counters = {
        **{counter: series(counter, group) for counter in (*OWN, *OTHERS)},
        **{f"mirrored_{counter}": series(f"mirrored_{counter}", copies) for counter in OWN},
    }
    percents = series("declared_percent", group)
    return {
        it.key: Read(
            it,
            percents.get(it.key, {}),
            {counter: found.get(it.key, {}) for counter, found in counters.items()},
        )
        for it in group
    }


def _series(batch: Batch, wanted: Sequence[Asked], metrics: Metrics) -> Mapping[Key, Series]:
    """Asks one query for all of them, and cuts each one's own series and time out of the answer."""
    step_seconds = wanted[0].grid.step_seconds
    start = min(it.grid.start for it in wanted)
    end = max(it.grid.end for it in wanted)
    cuts: dict[Key, slice] = {}
    for it in wanted:
        first = round((it.grid.start - start).total_seconds() / step_seconds)
        cuts[it.key] = slice(first, first + it.grid.intervals + 1)
    found: dict[Key, dict[tuple[tuple[str, str], ...], Floats]] = {}
    for labels, values in metrics.samples(batch.query, start, end, step_seconds).items():
        for key in batch.owners(dict(labels)):
            row = values[cuts[key]]
            if not np.isnan(row).all():
                found.setdefault(key, {})[labels] = row
    return found


def _observations(service: Service, stable: Read, candidate: Read) -> Observations:
    grid = candidate.asked.grid
    percents = candidate.percent()
    weights = effective_weights(percents, service.judge.settle_seconds, grid.step_seconds)
    copies = service.strategy.copies_percent
    # Of all that was sent: stable's requests, and copies of some.
    share = 100 * copies / (100 + copies)
    copied = (weights == 0) & (copies > 0)
    declared_now = None if math.isnan(percents[-1]) else float(percents[-1])
    return Observations(
        start=grid.start,
        interval_seconds=grid.step_seconds,
        weights=np.where(copied, share, weights),
        declared_now=share if declared_now == 0 else declared_now,
        stable=stable.arm(),
        candidate=_with_scrapes(candidate.arm(copied), stable, candidate),
        budget_share=grid.budget_share,
    )


def _with_scrapes(arm: Arm, stable: Read, candidate: Read) -> Arm:
    """Returns the candidate, not Ready where nothing else tells and its server does not answer.

    A version that never becomes Ready gets no route, so the gateway knows nothing of it. That it
    can't be scraped says something only where stable can: else it is the way there.
    """
    scraped = candidate.counters["scraped"]
    if not scraped or not stable.counters["scraped"]:
        return arm
    answers = np.where(_any(stable.counters["scraped"]) == 1, _any(scraped), np.nan)
    ready = answers if arm.ready is None else np.where(np.isnan(arm.ready), answers, arm.ready)
    return replace(arm, ready=ready)


def _began(service: Service) -> datetime:
    if service.rollout is None or service.rollout.started_at is None:
        raise ValueError("collect needs a service in a rollout")
    return service.rollout.started_at


def _versions(service: Service) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """Returns stable and candidate, each with whether it may get copies."""
    rollout = service.rollout
    if rollout is None or rollout.candidate is None:
        raise ValueError("collect needs a service in a rollout")
    return (rollout.stable, False), (rollout.candidate, service.strategy.copies_percent > 0)


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
    # The first move is a change too, and it lies within the first interval: edges are even times.
    weights[: max(lag, 1)] = np.nan
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


def _ready(endpoints: Series, available: Series) -> Floats | None:
    """Returns 1 where the version could take requests at the end of an interval, 0 where not.

    Args:
        endpoints: as the gateway sees them: nothing while there is no route.
        available: pods that are Ready, as Kubernetes says, which holds where the gateway is silent.
    """
    told = [_any(series) for series in (endpoints, available) if series]
    if not told:
        return None
    first, last = told[0], told[-1]
    return np.where(np.isnan(first), last, first)


def _any(series: Series) -> Floats:
    """Returns 1 where any series is above 0 at the end of an interval, NaN where none is known."""
    values = np.array([*series.values()])[:, 1:]
    known = ~np.all(np.isnan(values), axis=0)
    return np.where(known, (np.nansum(values, axis=0) > 0).astype(float), np.nan)
