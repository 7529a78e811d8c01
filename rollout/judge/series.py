"""What the judge reads: counts of both arms on a fixed grid of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """How many of how many, per interval; NaN where a scrape is missing.

    Attributes:
        bad: shape (T,): failed, slow or wrongly predicted.
        total: shape (T,): requests, or labels that arrived.
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
            return (self.bad >= 0) & (self.bad <= self.total)

    def where(self, mask: Mask) -> Counts:
        """Keeps the intervals of a mask."""
        return Counts(self.bad[mask], self.total[mask])


@dataclass(frozen=True)
class Arm:
    """One version's counts, shape (T,) each.

    Attributes:
        version: its semantic version.
        metrics: by name: errorRate, latency, accuracy.
        routed: requests sent to it, also those not answered yet.
        predictions: by what was predicted.
    """

    version: str
    metrics: dict[str, Counts]
    routed: Floats
    predictions: dict[str, Floats] = field(default_factory=dict[str, Floats])


@dataclass(frozen=True)
class Observations:
    """Both arms on one grid.

    Attributes:
        start: begin of the first interval.
        interval_seconds: width of each interval.
        weights: shape (T,): the candidate's percentage that held in all of an interval; NaN where
            it changed, is not known, or has not settled.
        declared_now: the candidate's percentage at the end of the grid, None if not recorded.
        stable: the yardstick.
        candidate: the version under test.
    """

    start: datetime
    interval_seconds: float
    weights: Floats
    declared_now: float | None
    stable: Arm
    candidate: Arm

    def time_of(self, index: int) -> datetime:
        """Returns the begin of an interval."""
        return self.start + timedelta(seconds=self.interval_seconds * index)

    def present_step(self) -> Mask:
        """Marks the intervals since the last change of weight."""
        settled = np.flatnonzero(~np.isnan(self.weights))
        mask = np.zeros(len(self.weights), dtype=bool)
        if len(settled) and self.declared_now is not None:
            changed = [i for i in settled if self.weights[i] != self.declared_now]
            mask[(changed[-1] + 1 if changed else 0) :] = True
            mask &= ~np.isnan(self.weights)
        return mask


def usable(counts: Sequence[Counts], mask: Mask) -> Mask:
    """Marks the intervals of `mask` in which every arm's counts are known."""
    for each in counts:
        mask = mask & each.known
    return mask
