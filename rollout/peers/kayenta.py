"""The rule of Spinnaker's Kayenta: a Mann-Whitney interval of the shift between two time series.

Source: spinnaker/kayenta, NetflixACAJudge.scala, MannWhitneyClassifier.scala, MannWhitney.scala,
BrentSolver.java, WeightedSumScorer.scala and MonitorCanaryTask.java. Its interval depends on the
course of the root search, whose tolerance of 1e-4 is wide for small numbers; so the search here is
the same: Brent, "Algorithms for Minimization without Derivatives" (1973), chapter 4.

Inside, a batch of series is an array of shape (L, M), where inf stands for "no point here".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from rollout.judge.series import Counts, Floats, Mask
from rollout.peers.reaction import Reaction, error_rates, passes_at_end

CONFIDENCE = 0.98
TOLERANCE = 0.25
"""By this share of the estimated shift, the interval has to keep away from 0."""

NODATA_PERCENT = 50.0
"""From this percentage of metrics without data on, the score is 0."""

_JITTER = 1e-5
_ROOT_TOLERANCE = 1e-4
_EPSILON = np.finfo(float).eps


class Direction(StrEnum):
    """Which shift of the canary is bad."""

    INCREASE = "increase"
    DECREASE = "decrease"
    EITHER = "either"


class NanStrategy(StrEnum):
    """What becomes of missing points: they are left out, or 0."""

    REMOVE = "remove"
    REPLACE = "replace"


class Label(StrEnum):
    """What a metric is found to be."""

    PASS = "Pass"  # noqa: S105
    HIGH = "High"
    LOW = "Low"
    NODATA = "Nodata"
    NODATA_FAIL = "NodataFailMetric"
    ERROR = "Error"


@dataclass(frozen=True)
class EffectLimits:
    """Ratios of the means, canary over baseline, from which on a shift matters.

    Attributes:
        allowed_increase: a High below it is a Pass.
        allowed_decrease: a Low above it is a Pass.
        critical_increase: a High of a critical metric below it does not fail the whole run.
        critical_decrease: a Low of a critical metric above it does not fail the whole run.
    """

    allowed_increase: float = 1.0
    allowed_decrease: float = 1.0
    critical_increase: float = 1.0
    critical_decrease: float = 1.0


@dataclass(frozen=True)
class Shift:
    """By how much the canary lies above the baseline, in the unit of the metric.

    Attributes:
        low: lower end of the confidence interval.
        high: upper end.
        estimate: Hodges-Lehmann estimate.
    """

    low: float
    high: float
    estimate: float


@dataclass(frozen=True)
class Classification:
    """The finding on one metric.

    Attributes:
        label: what it is.
        critical: whether it fails the whole run unless it is a Pass.
        shift: None where no test was needed or possible.
        mean_ratio: canary over baseline; NaN if a mean is 0 or there was no test.
    """

    label: Label
    critical: bool = False
    shift: Shift | None = None
    mean_ratio: float = np.nan


def kayenta(
    stable: Counts,
    candidate: Counts,
    *,
    every: int = 1,
    nan_strategy: NanStrategy = NanStrategy.REMOVE,
) -> Reaction:
    """Runs a standalone canary analysis of the error rate, in percent, over many rollouts.

    Each look is at all points from the first on, one per interval. The score of a single metric is
    0 or 100 (100 also after an error), so any thresholds between those do the same: the first look
    with score 0 stops the analysis, and the last one has to have 100.

    With fewer than five points per arm no interval has the confidence asked for. The source then
    ends it at the smallest difference of two points, so that a look finds High whenever the
    canary's points all lie clearly above the baseline's: up to half of the healthy canaries at one
    point each, up to a sixth at two. It asks for 50 points.

    Args:
        stable: counts, shape (..., T), which give the baseline's points.
        candidate: counts, shape (..., T), which give the canary's points.
        every: intervals from a look to the next; the last one is at the end anyway.
        nan_strategy: of intervals that are missing or without requests. With REMOVE, a look at
            which an arm has no points at all has score 0.
    """
    shape = np.broadcast_shapes(stable.total.shape, candidate.total.shape)
    canary, baseline = (
        _without_nan(np.broadcast_to(100 * error_rates(arm), shape), nan_strategy).reshape(
            -1, shape[-1]
        )
        for arm in (candidate, stable)
    )
    rejected = np.zeros(canary.shape, dtype=bool)
    running = np.arange(len(canary))
    for look in sorted({*range(every - 1, shape[-1], every), shape[-1] - 1}):
        x, y = canary[running, : look + 1], baseline[running, : look + 1]
        stops = _are_empty(x) | _are_empty(y)
        tested = np.flatnonzero(~stops)
        stops[tested] = _are_high(x[tested], y[tested])
        rejected[running, look] = stops
        running = running[~stops]
    return passes_at_end(rejected.reshape(shape))


def classify(
    canary: ArrayLike,
    baseline: ArrayLike,
    *,
    direction: Direction = Direction.EITHER,
    nan_strategy: NanStrategy = NanStrategy.REMOVE,
    outlier_factor: float | None = None,
    critical: bool = False,
    must_have_data: bool = False,
    confidence: float = CONFIDENCE,
    tolerance: float = TOLERANCE,
    effects: EffectLimits | None = None,
) -> Classification:
    """Compares two time series of one metric.

    Args:
        canary: points, shape (M,), NaN where missing.
        baseline: points, shape (N,), NaN where missing.
        direction: which shift is bad.
        nan_strategy: what becomes of missing points.
        outlier_factor: if given, points beyond this many interquartile ranges are left out; 3 is
            the default of the source when it leaves outliers out.
        critical: whether a bad shift, or no data, fails the whole run.
        must_have_data: whether no data counts as a failure of this metric.
        confidence: two-sided.
        tolerance: by which share of the estimate the interval has to keep away from 0.
        effects: of the ratio of the means; by default, 1 each.
    """
    x, y = (
        _usable_points(np.asarray(points, float), nan_strategy, outlier_factor)
        for points in (canary, baseline)
    )
    if not x.size or not y.size:
        return _without_data(nan_strategy, critical=critical, must_have_data=must_have_data)
    x, y = x[None], y[None]
    if _are_same(x, y)[0]:
        return Classification(Label.PASS)
    x, y = _jittered(x, y)
    shift = _shift(x, y, confidence)
    if shift is None:
        return Classification(Label.ERROR)
    ratio = float(_mean_ratios(x, y)[0])
    effects = effects or EffectLimits()
    margin = tolerance * abs(shift.estimate)
    # A ratio that does not exist, NaN, keeps nothing from being bad or critical.
    if (
        direction is not Direction.DECREASE
        and shift.low > margin
        and not ratio < effects.allowed_increase
    ):
        return Classification(
            Label.HIGH, critical and not ratio < effects.critical_increase, shift, ratio
        )
    if (
        direction is not Direction.INCREASE
        and shift.high < -margin
        and not ratio > effects.allowed_decrease
    ):
        return Classification(
            Label.LOW, critical and not ratio > effects.critical_decrease, shift, ratio
        )
    return Classification(Label.PASS, shift=shift, mean_ratio=ratio)


def score(
    groups: Mapping[str, Sequence[Classification]], weights: Mapping[str, float] | None = None
) -> float:
    """Returns the score of a run, 0 to 100, with two decimals.

    Args:
        groups: findings by group of metrics, each metric in one group.
        weights: percentage of the score by group; groups not named share what is left.
    """
    weights = weights or {}
    metrics = [metric for group in groups.values() for metric in group]
    without_data = sum(metric.label is Label.NODATA for metric in metrics)
    if any(metric.critical and metric.label is not Label.PASS for metric in metrics):
        return 0.0
    if 100 * without_data >= NODATA_PERCENT * len(metrics):
        return 0.0
    unnamed = [name for name in groups if name not in weights]
    rest = (100 - sum(weights.values())) / max(len(unnamed), 1)
    parts = (_group_score(group) * weights.get(name, rest) / 100 for name, group in groups.items())
    return round(sum(parts), 2)


def mann_whitney(canary: ArrayLike, baseline: ArrayLike, confidence: float) -> Shift:
    """Returns the shift between two samples, by inversion of the rank sum test.

    Args:
        canary: points, shape (M,), none missing.
        baseline: points, shape (N,), none missing.
        confidence: two-sided.

    Raises:
        ValueError: if all points tie when the samples are shifted onto each other.
    """
    shift = _shift(np.asarray(canary, float)[None], np.asarray(baseline, float)[None], confidence)
    if shift is None:
        raise ValueError("There is no interval where all points tie.")
    return shift


def standardized_rank_sum(shift: float, canary: ArrayLike, baseline: ArrayLike) -> float:
    """Returns the rank sum of the canary, less `shift`, in standard deviations from its mean.

    Args:
        shift: in the unit of the points.
        canary: points, shape (M,), none missing.
        baseline: points, shape (N,), none missing.
    """
    x, y = np.asarray(canary, float)[None], np.asarray(baseline, float)[None]
    return float(_rank_sums(np.array([shift]), x, y)[0])


def without_outliers(points: Floats, factor: float) -> Floats:
    """Leaves out points far from the quartiles, and at most the outer percent of either side.

    Args:
        points: shape (N,), at least one, none missing.
        factor: interquartile ranges between a quartile and what is far from it.
    """
    first, lower, upper, last = np.percentile(points, [1, 25, 75, 99])
    reach = factor * (upper - lower)
    low, high = min(first, lower - reach), max(last, upper + reach)
    return points[(points >= low) & (points <= high)]


def _without_nan(points: Floats, strategy: NanStrategy) -> Floats:
    return np.where(np.isnan(points), 0.0 if strategy is NanStrategy.REPLACE else np.inf, points)


def _usable_points(points: Floats, strategy: NanStrategy, outlier_factor: float | None) -> Floats:
    usable = _without_nan(points, strategy)
    usable = usable[np.isfinite(usable)]
    if outlier_factor is None or not usable.size:
        return usable
    return without_outliers(usable, outlier_factor)


def _without_data(strategy: NanStrategy, *, critical: bool, must_have_data: bool) -> Classification:
    if strategy is NanStrategy.REPLACE:
        return Classification(Label.PASS)
    if must_have_data and not critical:
        return Classification(Label.NODATA_FAIL)
    return Classification(Label.NODATA, critical)


def _group_score(group: Sequence[Classification]) -> float:
    counted = [m for m in group if m.label not in {Label.NODATA, Label.ERROR}]
    if not counted:
        return 100.0
    return 100 * sum(metric.label is Label.PASS for metric in counted) / len(counted)


def _are_high(x: Floats, y: Floats) -> Mask:
    """Tells which pairs of a batch `classify` finds High, with its defaults.

    Only the lower end of the interval is needed, and the estimate only where that is above 0.
    """
    high = ~_are_same(x, y)
    x, y = _jittered(x, y)
    with np.errstate(invalid="ignore"):
        high &= ~(_mean_ratios(x, y) < 1)
    lanes = np.flatnonzero(high)
    low = _interval_end(x[lanes], y[lanes], _quantile(CONFIDENCE))
    lanes, low = lanes[low > 0], low[low > 0]
    estimate = _estimates(x[lanes], y[lanes])
    high[:] = False
    high[lanes[low > TOLERANCE * np.abs(estimate)]] = True
    return high


def _are_empty(points: Floats) -> Mask:
    return np.asarray(np.isinf(points).all(axis=1))


def _are_same(x: Floats, y: Floats) -> Mask:
    """Tells which pairs have the same points, or one and the same value in both."""
    points = np.hstack([x, y])
    lowest = points.min(axis=1)
    constant = ~(np.isfinite(points) & (points != lowest[:, None])).any(axis=1)
    if x.shape != y.shape:
        return constant
    return constant | (np.sort(x, axis=1) == np.sort(y, axis=1)).all(axis=1)


def _jittered(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Breaks the ties of two constant series.

    Kayenta adds normal noise of this size. Its quantiles do the same, and always do it alike.
    """
    constant = _are_constant(x) & _are_constant(y)
    return _spread_out(x, constant), _spread_out(y, constant)


def _are_constant(points: Floats) -> Mask:
    return ~(np.isfinite(points) & (points != points.min(axis=1, keepdims=True))).any(axis=1)


def _spread_out(points: Floats, lanes: Mask) -> Floats:
    there = np.isfinite(points)
    rank = np.cumsum(there, axis=1) - 0.5
    share = np.where(there, rank / there.sum(axis=1, keepdims=True), 0.5)
    return np.where(lanes[:, None], points * (1 + _JITTER * ndtri(share)), points)


def _mean_ratios(x: Floats, y: Floats) -> Floats:
    means = [
        np.sum(points, axis=1, where=np.isfinite(points)) / np.isfinite(points).sum(axis=1)
        for points in (x, y)
    ]
    defined = (means[0] != 0) & (means[1] != 0)
    return np.divide(means[0], means[1], out=np.full(len(x), np.nan), where=defined)


def _quantile(confidence: float) -> float:
    return float(-ndtri((1 - confidence) / 2))


def _shift(x: Floats, y: Floats, confidence: float) -> Shift | None:
    """Returns the shift of a batch of one, None if all points tie at an end of its range."""
    quantile = _quantile(confidence)
    low, high = _interval_end(x, y, quantile), _interval_end(x, y, -quantile)
    if np.isnan(low[0]):
        return None
    return Shift(float(low[0]), float(high[0]), float(_estimates(x, y)[0]))


def _interval_end(x: Floats, y: Floats, quantile: float) -> Floats:
    """Finds at which shift the rank sum is this far from its mean; NaN where it has no spread.

    Args:
        x: canary, shape (L, M).
        y: baseline, shape (L, N).
        quantile: in standard deviations.
    """
    bracket = _bracket(x, y, quantile)
    ends = np.where(bracket.f_lower <= 0, bracket.lower, bracket.upper)
    ends[np.isnan(bracket.f_lower) | np.isnan(bracket.f_upper)] = np.nan
    inside = np.flatnonzero((bracket.f_lower > 0) & (bracket.f_upper < 0))
    ends[inside] = _roots(_excess(x[inside], y[inside], quantile), bracket.of(inside))
    return ends


def _estimates(x: Floats, y: Floats) -> Floats:
    """Finds at which shift the rank sum is its mean."""
    return _roots(_excess(x, y, 0.0), _bracket(x, y, 0.0))


_Function = Callable[[Floats, NDArray[np.intp]], Floats]


@dataclass(frozen=True)
class _Bracket:
    """Where roots are looked for, and the function there; shape (L,) each."""

    lower: Floats
    upper: Floats
    f_lower: Floats
    f_upper: Floats

    def of(self, lanes: NDArray[np.intp]) -> _Bracket:
        return _Bracket(
            self.lower[lanes], self.upper[lanes], self.f_lower[lanes], self.f_upper[lanes]
        )


def _bracket(x: Floats, y: Floats, quantile: float) -> _Bracket:
    lower = x.min(axis=1) - _largest(y)
    upper = _largest(x) - y.min(axis=1)
    excess = _excess(x, y, quantile)
    lanes = np.arange(len(x))
    return _Bracket(lower, upper, excess(lower, lanes), excess(upper, lanes))


def _largest(points: Floats) -> Floats:
    return np.max(points, axis=1, initial=-np.inf, where=np.isfinite(points))


def _excess(x: Floats, y: Floats, quantile: float) -> _Function:
    return lambda shift, lanes: _rank_sums(shift, x[lanes], y[lanes]) - quantile


def _rank_sums(shift: Floats, x: Floats, y: Floats) -> Floats:
    """Standardizes rank sums, with the correction for continuity and for ties.

    Args:
        shift: taken off the canary, shape (L,).
        x: canary, shape (L, M).
        y: baseline, shape (L, N).

    Returns:
        shape (L,): NaN where all points tie.
    """
    pooled = np.hstack([x - shift[:, None], y])
    order = np.argsort(pooled, axis=1)
    ordered = np.take_along_axis(pooled, order, axis=1)
    there = np.isfinite(ordered)
    width = pooled.shape[1]
    begins = np.ones(pooled.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.roll(begins, -1, axis=1)
    index = np.arange(width)
    first = np.maximum.accumulate(np.where(begins, index, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, index, width)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.where(there & (order < x.shape[1]), (first + last) / 2 + 1, 0.0).sum(axis=1)
    # Each of t points that tie adds t^2 - 1, which makes t^3 - t together.
    ties = np.where(there, (last - first + 1.0) ** 2 - 1, 0.0).sum(axis=1)
    m, n = np.isfinite(x).sum(axis=1), np.isfinite(y).sum(axis=1)
    distance = ranks - m * (m + 1) / 2 - m * n / 2
    variance = m * n / 12 * ((m + n + 1) - ties / ((m + n) * (m + n - 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            variance > 0, (distance - 0.5 * np.sign(distance)) / np.sqrt(variance), np.nan
        )


def _roots(function: _Function, bracket: _Bracket) -> Floats:
    """Finds a root of each function of a batch, by Brent's method.

    Args:
        function: of an argument per lane, shape (l,), and the numbers of these lanes.
        bracket: within which the function changes its sign, unless it is 0 at one of its ends.
    """
    roots = np.where(bracket.f_lower == 0, bracket.lower, bracket.upper)
    lanes = np.flatnonzero((bracket.f_lower != 0) & (bracket.f_upper != 0))
    inside = bracket.of(lanes)
    # b is the best guess, c lies on the other side of the root, a is the guess before.
    a, b, fa, fb = inside.lower, inside.upper, inside.f_lower, inside.f_upper
    c, fc = a, fa
    while lanes.size:
        previous = b - a
        swap = np.abs(fc) < np.abs(fb)
        a, b, c = np.where(swap, b, a), np.where(swap, c, b), np.where(swap, b, c)
        fa, fb, fc = np.where(swap, fb, fa), np.where(swap, fc, fb), np.where(swap, fb, fc)
        reach = 2 * _EPSILON * np.abs(b) + _ROOT_TOLERANCE / 2
        done = (np.abs(c - b) / 2 <= reach) | (fb == 0)
        roots[lanes[done]] = b[done]
        lanes, previous, reach = lanes[~done], previous[~done], reach[~done]
        a, b, c = a[~done], b[~done], c[~done]
        fa, fb, fc = fa[~done], fb[~done], fc[~done]
        step = _brent_step(a, b, c, fa, fb, fc, previous, reach)
        a, fa = b, fb
        b = b + step
        fb = function(b, lanes)
        passed = fb * fc > 0
        c, fc = np.where(passed, a, c), np.where(passed, fa, fc)
    return roots


def _brent_step(
    a: Floats,
    b: Floats,
    c: Floats,
    fa: Floats,
    fb: Floats,
    fc: Floats,
    previous: Floats,
    reach: Floats,
) -> Floats:
    """Returns the next step from b: interpolated if that promises enough, else half way to c."""
    gap = c - b
    with np.errstate(divide="ignore", invalid="ignore"):
        secant = a == c
        s, t, u = fb / fa, fa / fc, fb / fc
        p = np.where(secant, gap * s, s * (gap * t * (t - u) - (b - a) * (u - 1)))
        q = np.where(secant, 1 - s, (t - 1) * (u - 1) * (s - 1))
        p, q = np.abs(p), np.where(p > 0, -q, q)
        interpolated = (
            (np.abs(previous) >= reach)
            & (np.abs(fa) > np.abs(fb))
            & (p < 0.75 * gap * q - np.abs(reach * q) / 2)
            & (p < np.abs(previous * q / 2))
        )
        step = np.where(interpolated, p / q, gap / 2)
    return np.where(np.abs(step) < reach, np.where(step > 0, reach, -reach), step)
