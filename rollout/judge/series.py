"""What the judge reads: counts of both arms on a fixed grid of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """How many of how many, per interval; NaN where a scrape is missing.

    Attributes:
        bad: shape (..., T): failed, slow or wrongly predicted.
        total: shape (..., T): requests, or labels that arrived.
    """

    bad: Floats
    total: Floats

    @classmethod
    def of(cls, bad: ArrayLike, total: ArrayLike) -> Counts:
        """Builds counts from sequences; None becomes NaN."""
        return cls(np.asarray(bad, dtype=float), np.asarray(total, dtype=float))

    @property
    def known(self) -> Mask:
        """Where both numbers are there and possible."""
        with np.errstate(invalid="ignore"):
            return (self.bad >= 0) & (self.bad <= self.total) & np.isfinite(self.total)

    @property
    def impossible(self) -> Mask:
        """Where both numbers are there and can't be: more bad ones than all, or fewer than none.

        A total below 0 is a counter that was reset: it counts nothing.
        """
        with np.errstate(invalid="ignore"):
            return ((self.bad > self.total) | (self.bad < 0)) & (self.total >= 0)

    def within(self, mask: Mask) -> Counts:
        """Counts nothing outside of a mask; the grid stays."""
        return Counts(np.where(mask, self.bad, 0.0), np.where(mask, self.total, 0.0))

    def row(self, index: int) -> Counts:
        """Keeps one row of several, shape (T,)."""
        return Counts(self.bad[index], self.total[index])

    def until(self, intervals: int) -> Counts:
        """Keeps the first intervals."""
        return Counts(self.bad[..., :intervals], self.total[..., :intervals])

    def sum(self) -> tuple[int, int]:
        """Returns (bad, total) over all intervals."""
        return round(float(self.bad.sum())), round(float(self.total.sum()))


@dataclass(frozen=True)
class Values:
    """A measured quantity, per interval; NaN where a scrape is missing.

    Attributes:
        sum: shape (..., T).
        sum_squares: shape (..., T).
        count: shape (..., T): how many values were added up.
    """

    sum: Floats
    sum_squares: Floats
    count: Floats

    @property
    def known(self) -> Mask:
        """Where all three are there and possible: a variance is never below 0."""
        with np.errstate(invalid="ignore"):
            tolerance = 1e-9 * np.abs(self.sum_squares)
            spread = self.sum_squares * self.count - self.sum**2
            possible = (self.count >= 0) & (spread >= -tolerance * np.maximum(self.count, 1))
            return possible & np.isfinite(spread)

    @property
    def impossible(self) -> Mask:
        """Where all three are there and can't be: a variance below 0."""
        return (self.count >= 0) & np.isfinite(self.sum + self.sum_squares) & ~self.known

    def within(self, mask: Mask) -> Values:
        """Counts nothing outside of a mask; the grid stays."""
        return Values(*(np.where(mask, it, 0.0) for it in (self.sum, self.sum_squares, self.count)))


@dataclass(frozen=True)
class Categories:
    """How many fell into each of K categories, or buckets of a histogram, per interval.

    Attributes:
        names: K of them.
        counts: shape (..., T, K); NaN where a scrape is missing.
    """

    names: tuple[str, ...]
    counts: Floats

    @property
    def known(self) -> Mask:
        """Where all are there and possible."""
        with np.errstate(invalid="ignore"):
            return np.all((self.counts >= 0) & np.isfinite(self.counts), axis=-1)

    def within(self, mask: Mask) -> Categories:
        """Counts nothing outside of a mask; the grid stays."""
        return Categories(self.names, np.where(mask[..., None], self.counts, 0.0))


@dataclass(frozen=True)
class Buckets:
    """A latency histogram per interval, cumulative as Prometheus keeps it.

    Attributes:
        edges_ms: K upper edges, rising, the last one infinite; milliseconds.
        counts: shape (T, K): requests answered within each edge; NaN where a scrape is missing.
    """

    edges_ms: tuple[float, ...]
    counts: Floats

    def slower_than(self, threshold_ms: float) -> Counts:
        """Returns how many requests took longer than an edge.

        Raises:
            ValueError: the threshold is no edge, so that nobody counted.
        """
        if threshold_ms not in self.edges_ms:
            edges = ", ".join(f"{edge:g}" for edge in self.edges_ms)
            raise ValueError(f"{threshold_ms:g} ms is no edge of the histogram: {edges}")
        total = self.counts[:, -1]
        return Counts(total - self.counts[:, self.edges_ms.index(threshold_ms)], total)


@dataclass(frozen=True)
class Arm:
    """One version's counts, shape (T,) each.

    Attributes:
        version: its semantic version.
        metrics: by name: errorRate, latency, accuracy; only those that are measured.
        routed: requests sent to it, also those not answered yet.
        values: measured quantities, by name.
        categories: predictions and features, by name.
        buckets: its whole latency histogram, where that is read.
        pods: by metric: the same counts for each pod, shape (P, T).
        reference: shares at training time, by the name of the categories, each of shape (K,).
        ready: 1 where the version was Ready, 0 where not, NaN where not known; shape (T,).
    """

    version: str
    metrics: dict[str, Counts]
    routed: Floats
    values: dict[str, Values] = field(default_factory=dict[str, Values])
    categories: dict[str, Categories] = field(default_factory=dict[str, Categories])
    buckets: Buckets | None = None
    pods: dict[str, Counts] = field(default_factory=dict[str, Counts])
    reference: dict[str, Floats] = field(default_factory=dict[str, Floats])
    ready: Floats | None = None

    def until(self, intervals: int) -> Arm:
        """Keeps the first intervals of everything."""
        return replace(
            self,
            metrics={name: it.until(intervals) for name, it in self.metrics.items()},
            routed=self.routed[:intervals],
            values={
                name: Values(it.sum[:intervals], it.sum_squares[:intervals], it.count[:intervals])
                for name, it in self.values.items()
            },
            categories={
                name: replace(it, counts=it.counts[:intervals])
                for name, it in self.categories.items()
            },
            buckets=self.buckets and replace(self.buckets, counts=self.buckets.counts[:intervals]),
            pods={name: it.until(intervals) for name, it in self.pods.items()},
            ready=None if self.ready is None else self.ready[:intervals],
        )

    @property
    def volume(self) -> Counts:
        """How much was counted: answers, else requests sent, else labels, else values."""
        if "errorRate" in self.metrics:
            return self.metrics["errorRate"]
        if np.isfinite(self.routed).any():
            return Counts(np.zeros_like(self.routed), self.routed)
        if self.metrics:
            return next(iter(self.metrics.values()))
        counted = next((it.count for it in self.values.values()), self.routed)
        return Counts(np.zeros_like(counted), counted)


@dataclass(frozen=True)
class Observations:
    """Both arms on one grid.

    Attributes:
        start: begin of the first interval.
        interval_seconds: width of each interval.
        weights: shape (T,): the candidate's percentage of all that was sent, copies among it, where
            it held in all of an interval; NaN where it changed, is not known, or has not settled.
        declared_now: the candidate's percentage at the end of the grid, None if not recorded.
        stable: the yardstick.
        candidate: the version under test.
        budget_share: the part of alpha and beta that may be spent on this grid, see `rollout.grid`.
    """

    start: datetime
    interval_seconds: float
    weights: Floats
    declared_now: float | None
    stable: Arm
    candidate: Arm
    budget_share: float = 1.0

    def time_of(self, index: int) -> datetime:
        """Returns the begin of an interval."""
        return self.start + timedelta(seconds=self.interval_seconds * index)

    def until(self, intervals: int, declared_now: float) -> Observations:
        """Returns what was known at the end of some first intervals."""
        return replace(
            self,
            weights=self.weights[:intervals],
            declared_now=declared_now,
            stable=self.stable.until(intervals),
            candidate=self.candidate.until(intervals),
        )

    def present_step(self) -> Mask:
        """Marks the intervals since the last change of weight."""
        settled = np.flatnonzero(~np.isnan(self.weights))
        mask = np.zeros(len(self.weights), dtype=bool)
        if len(settled) and self.declared_now is not None:
            near = same_percent(self.weights, self.declared_now)
            changed = [i for i in settled if not near[i]]
            mask[(changed[-1] + 1 if changed else 0) :] = True
            mask &= ~np.isnan(self.weights)
        return mask


@dataclass(frozen=True)
class Compared:
    """The intervals that count.

    Attributes:
        settled: both versions got traffic and the weight had settled.
        step: the same, at the present step.
    """

    settled: Mask
    step: Mask

    @classmethod
    def of(cls, seen: Observations) -> Compared:
        """Picks them by the weights that really held."""
        with np.errstate(invalid="ignore"):
            settled = (seen.weights > 0) & (seen.weights < 100)
        return cls(settled, seen.present_step() & settled)


def same_percent(weights: Floats | float, declared: float) -> Mask:
    """Whether percentages are the declared one, which is whole, after rounding."""
    return np.abs(np.asarray(weights) - declared) < 0.5


def usable(series: Sequence[Counts | Values | Categories], mask: Mask) -> Mask:
    """Marks the intervals of `mask` in which all of the series are known."""
    for each in series:
        mask = mask & each.known
    return mask
