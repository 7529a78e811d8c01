"""Evidence on measured quantities, from their sum, sum of squares and count per interval.

Each interval's difference of means is taken as normal with the variance seen before it, which is
right for many values, whatever their distribution. Intervals stay apart: what changes for
both arms from one to the next is no difference. Where there is but one value an interval (a gauge,
a rate), or all are equal, no variance is seen, and only the sign of each difference counts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import ndtri

from rollout.judge.bets import EPSILON, from_any_interval, from_the_start
from rollout.judge.bounds import mean_differences
from rollout.judge.dispersion import SUSPICION
from rollout.judge.e_process import MOST_OF_ONE_INTERVAL
from rollout.judge.series import Floats, Mask, Values

Direction = Literal["increase", "decrease", "either"]
"""Which change is harmful."""

_EFFECTS = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
"""By how many standard deviations of a value a harmful candidate may exceed the margin."""

_GAINS = np.array([1.0, 1.5, 2.0])

_CHANCES = np.array([0.6, 0.75, 0.9, 0.99])
"""In which share of intervals a harmful candidate may be the worse one."""


def mean_harm_evidence(
    stable: Values, candidate: Values, margin: float, direction: Direction, alpha: float
) -> Floats:
    """Returns the log e-value against "its mean is worse by at most the margin".

    Args:
        stable: shape (T,), all known.
        candidate: shape (T,), all known.
        margin: in the unit of the values.
        direction: which change is worse.
        alpha: the level it will be held against.

    Returns:
        shape (T,): running log e-values.
    """
    if direction == "either":
        sides = [
            mean_harm_evidence(stable, candidate, margin, side, alpha)
            for side in ("increase", "decrease")
        ]
        return np.logaddexp(*sides) - np.log(2)
    difference, precision = mean_differences(stable, candidate)
    if not precision.any():
        return _sign_evidence(stable, candidate, margin, direction)
    worse = difference if direction == "increase" else -difference
    total = np.maximum(stable.count + candidate.count, 1)
    per_value = stable.count * candidate.count / total  # of the precision, at variance 1
    deviation = np.sqrt(per_value / np.where(precision > 0, precision, np.inf))
    shifts = _EFFECTS[:, None] * deviation
    factors = precision * (shifts * (worse - margin) - shifts**2 / 2)
    factors = np.minimum(factors, -MOST_OF_ONE_INTERVAL * np.log(alpha))
    evidence = from_any_interval(factors)
    return np.where(evidence > 0, evidence / _spread(worse, precision), evidence)


def mean_margin_evidence(
    stable: Values, candidate: Values, margin: float, direction: Direction
) -> Floats:
    """Returns the log e-value against "its mean is worse by at least the margin".

    Arguments and result are as in `mean_harm_evidence`; with `either` both directions must be
    ruled out.
    """
    if direction == "either":
        return np.minimum(
            mean_margin_evidence(stable, candidate, margin, "increase"),
            mean_margin_evidence(stable, candidate, margin, "decrease"),
        )
    difference, precision = mean_differences(stable, candidate)
    worse = difference if direction == "increase" else -difference
    weight = np.cumsum(precision) - precision
    shown = (np.cumsum(precision * worse) - precision * worse) / np.maximum(weight, EPSILON)
    planned = _GAINS[:, None] * margin + np.zeros_like(worse)
    shifts = np.vstack([planned, np.where(weight > 0, np.maximum(margin - shown, 0), 0)])
    factors = precision * (shifts * (margin - worse) - shifts**2 / 2)
    evidence = from_the_start(factors)
    return np.where(evidence > 0, evidence / _spread(worse, precision), evidence)


def _sign_evidence(
    stable: Values, candidate: Values, margin: float, direction: Direction
) -> Floats:
    """Returns the log e-value against "it is the worse one in at most half of the intervals".

    A mean of many values against one of few is no fair coin, so both must be of as many, or flat.
    """
    alike = (stable.count == candidate.count) | (_is_flat(stable) & _is_flat(candidate))
    both = (stable.count > 0) & (candidate.count > 0) & alike
    means = [arm.sum / np.maximum(arm.count, 1) for arm in (stable, candidate)]
    difference = means[1] - means[0]
    beyond = (difference if direction == "increase" else -difference) - margin
    won, lost = both & (beyond > 0), both & (beyond < 0)
    chances = _CHANCES[:, None]
    factors = np.where(won, np.log(2 * chances), 0.0) + np.where(lost, np.log(2 - 2 * chances), 0.0)
    return from_any_interval(factors)


def _is_flat(arm: Values) -> Mask:
    """Whether all values of an interval are equal, as far as their sums tell."""
    within = arm.sum_squares * arm.count - arm.sum**2
    return within <= 1e-9 * np.abs(arm.sum_squares) * np.maximum(arm.count, 1)


def _spread(difference: Floats, precision: Floats) -> Floats:
    """Returns how much wider the differences spread between intervals than within; 1 if not."""
    weight = np.maximum(np.cumsum(precision), EPSILON)
    weighted = np.cumsum(precision * difference)
    squares = np.cumsum(precision * difference**2) - weighted**2 / weight
    freedom = np.maximum(np.cumsum(precision > 0) - 1.0, 0.0)
    wide = squares - freedom > -ndtri(SUSPICION) * np.sqrt(2 * freedom)
    return np.where(wide, np.maximum(squares / np.maximum(freedom, 1), 1.0), 1.0)
