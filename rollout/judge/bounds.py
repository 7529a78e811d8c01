"""Confidence sequences: bounds that hold at all times together, so they may be read at any look.

A bound of a difference is where a bet against it, placed on the counts so far, has just multiplied
its stake by 1/alpha. The bets are those of `bets.py` with a stake that does not depend on the
bound, so earnings fall steadily with it and a bisection finds the place. The size of the stake
follows the requests seen, as in the predictable plug-in sequences of Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (2023).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from rollout.judge.bets import EPSILON, predicted_rate
from rollout.judge.e_process import Levels
from rollout.judge.series import Buckets, Counts, Floats, Values

_BISECTIONS = 13
"""On the cube root of the difference: at 1 point it is exact to a hundredth of one."""

_BOLDEST_LOSS = 0.9
_GREATEST_VARIANCE = 0.25
_RUIN = 1e-300
_HIGHEST_RATIO = 1e4
_RATIOS = 501
"""So a bound of a ratio is exact to four parts of a hundred."""

FIRST_VALUES = 30
"""So many values of a quantity, at least, tell its variance."""

_RATE_GRID = np.geomspace(1e-6, 1.0, 400)


def difference_bounds(
    stable: Counts, candidate: Counts, guess: Levels, alpha: Levels, spread: Levels = 1.0
) -> tuple[Floats, Floats]:
    """Returns bounds of (candidate's rate - stable's rate), each missed with probability alpha.

    Where the difference changes over time they enclose a mean of it, weighted by what each
    interval tells.

    Args:
        stable: counts, shape (..., T), all known.
        candidate: counts, shape (..., T), all known.
        guess: both rates before any interval is seen; broadcasts to (...,).
        alpha: of each bound; broadcasts to (...,).
        spread: `dispersion`; above 1 it widens the bounds; broadcasts to (...,).

    Returns:
        lower and upper bound, each of shape (...,).
    """
    needed = -np.log(np.asarray(alpha, dtype=float)) * np.asarray(spread)
    rate, stake = _stakes(stable, candidate, guess, np.asarray(alpha, dtype=float))
    # Both sides at once: the first axis.
    sides = np.array([1.0, -1.0]).reshape(2, *[1] * np.ndim(stake))
    found = _bisect(_earned(stable, candidate, rate, sides * stake), needed, sides[..., 0])
    return found[0], found[1]


def ratio_bounds(
    stable: Counts, candidate: Counts, guess: float, alpha: float
) -> tuple[float, float]:
    """Returns bounds of (candidate's rate / stable's rate), each missed with probability alpha.

    Args:
        stable: counts, shape (T,), all known.
        candidate: counts, shape (T,), all known.
        guess: both rates before any interval is seen.
        alpha: of each bound.

    Returns:
        lower and upper bound, 0 and infinite where nothing is known.
    """
    ratios = np.geomspace(1 / _HIGHEST_RATIO, _HIGHEST_RATIO, _RATIOS)
    needed = -np.log(alpha)
    rate, stake = _stakes(stable, candidate, guess, np.asarray(alpha))

    def outside(side: int) -> Floats:
        return np.array([_ratio_earned(stable, candidate, rate, side * stake, it) for it in ratios])

    above, below = outside(1) >= needed, outside(-1) >= needed
    # A ratio is ruled out only if all on its far side are: the nulls are nested.
    lower = ratios[np.cumprod(above).astype(bool)]
    upper = ratios[::-1][np.cumprod(below[::-1]).astype(bool)]
    return float(lower.max(initial=0.0)), float(upper.min(initial=np.inf))


def rate_bounds(counts: Counts, alpha: float) -> tuple[Floats, Floats]:
    """Returns bounds of one arm's mean rate, each missed with probability alpha.

    Mixture of binomial likelihood ratios over a grid of rates above, or below, each bound.

    Args:
        counts: shape (..., T), all known.
        alpha: of each bound.

    Returns:
        lower and upper bound, each of shape (...,).
    """
    bad = counts.bad.sum(axis=-1)[..., None]
    good = counts.total.sum(axis=-1)[..., None] - bad
    rates = np.minimum(_RATE_GRID, 1 - EPSILON)
    likelihood = bad * np.log(rates) + good * np.log1p(-rates)
    mass = -np.log(len(rates))
    above = np.logaddexp.accumulate(likelihood[..., ::-1], axis=-1)[..., ::-1] + mass - likelihood
    below = np.logaddexp.accumulate(likelihood, axis=-1) + mass - likelihood
    needed = -np.log(alpha)
    lower = np.where(above >= needed, rates, 0.0).max(axis=-1)
    upper = np.where(below >= needed, rates, 1.0).min(axis=-1)
    return lower, upper


def quantile_bounds(buckets: Buckets, share: float, alpha: float) -> tuple[float, float]:
    """Returns edges between which a quantile of the latency lies, milliseconds.

    Edges are tried in their order, outwards in, and the first one that is not ruled out stops the
    search; so each side is missed with probability alpha however many edges there are.

    Args:
        buckets: of one arm.
        share: which quantile, 0 to 1, such as 0.99.
        alpha: of each side.

    Returns:
        Lower and upper edge; 0 and infinite where nothing is known.
    """
    known = np.all(buckets.counts >= 0, axis=1)
    if not np.any(known):
        return 0.0, np.inf
    counts = buckets.counts[known]
    slower = Counts((counts[:, -1:] - counts).T, np.repeat(counts[:, -1:], counts.shape[1], 1).T)
    least, most = rate_bounds(slower, alpha)
    edges = np.array(buckets.edges_ms)
    above = np.cumprod(least > 1 - share).astype(bool)  # more than 1 - share take longer
    below = np.cumprod((most < 1 - share)[:-1][::-1]).astype(bool)[::-1]
    lower = float(edges[above].max()) if above.any() else 0.0
    upper = float(edges[:-1][below].min()) if below.any() else np.inf
    return lower, upper


def mean_bounds(stable: Values, candidate: Values, alpha: float) -> tuple[float, float]:
    """Returns bounds of (candidate's mean - stable's mean), each missed with probability alpha.

    Intervals are weighted by their precision; asymptotic: right for many values, whatever their
    distribution. One-sided normal mixture (Waudby-Smith et al. 2021; Howard et al. 2021).

    Args:
        stable: shape (T,), all known.
        candidate: shape (T,), all known.
        alpha: of each bound.

    Returns:
        Lower and upper bound, in the unit of the values; infinite where nothing is known.
    """
    difference, precision = mean_differences(stable, candidate)
    whole = float(precision.sum())
    if whole == 0:
        return -np.inf, np.inf
    centre = float((precision * difference).sum()) / whole
    tuned = float(precision[precision > 0][0]) * 10
    radius = mixture_radius(whole, tuned, alpha)
    return centre - radius, centre + radius


def mixture_radius(information: ArrayLike, tuned: float, alpha: float) -> float:
    """Returns the half width of a one-sided normal mixture sequence.

    Args:
        information: sum of the inverse variances so far.
        tuned: the information at which it is narrowest, about.
        alpha: of the bound.
    """
    n = float(np.asarray(information))
    inside = 1 + np.sqrt((n + tuned) / tuned) / (2 * alpha)
    return float(np.sqrt(2 * (n + tuned) * np.log(inside)) / n)


def mean_differences(stable: Values, candidate: Values) -> tuple[Floats, Floats]:
    """Returns each interval's difference of means and its precision, 0 where it has none.

    The variance of a value is that of the intervals before, so that it does not depend on what it
    weighs; of the first `FIRST_VALUES` of each arm nothing else is used.
    """
    variance_s, variance_c = _known_variance(stable), _known_variance(candidate)
    n_s, n_c = np.maximum(stable.count, 1), np.maximum(candidate.count, 1)
    variance = variance_s / n_s + variance_c / n_c
    known = (stable.count > 0) & (candidate.count > 0) & (variance > 0)
    precision = np.where(known, 1 / np.where(known, variance, 1.0), 0.0)
    return candidate.sum / n_c - stable.sum / n_s, precision


def _known_variance(arm: Values) -> Floats:
    """Returns a value's variance within intervals, as known before each one; NaN while unknown."""
    within = arm.sum_squares - arm.sum**2 / np.maximum(arm.count, 1)
    freedom = np.maximum(arm.count - 1, 0)
    squares, seen = (np.cumsum(it) - it for it in (np.maximum(within, 0), freedom))
    return np.where(seen >= FIRST_VALUES, squares / np.maximum(seen, 1), np.nan)


def _stakes(
    stable: Counts, candidate: Counts, guess: Levels, alpha: Floats
) -> tuple[Floats, Floats]:
    """Returns stable's predicted rate, and the stake of a candidate's request, by interval."""
    prior = np.asarray(guess, dtype=float)[..., None]
    rate = predicted_rate(stable, prior)
    n_s, n_c = np.maximum(stable.total, 1), candidate.total
    p_c = predicted_rate(candidate, prior)
    v_s, v_c = rate * (1 - rate), p_c * (1 - p_c)
    # Before the first requests the variance is a guess, and one too low would stake too much.
    v_s = np.where(np.cumsum(stable.total, axis=-1) > stable.total, v_s, _GREATEST_VARIANCE)
    v_c = np.where(np.cumsum(n_c, axis=-1) > n_c, v_c, _GREATEST_VARIANCE)
    told = n_c * (v_c + v_s * n_c / n_s)
    # The usual size of such a stake: it keeps the bound tight at all times, not only at the end.
    information = np.cumsum(told, axis=-1) + EPSILON
    slowed = np.maximum(np.log1p(information), 1.0)
    stake = np.sqrt(-2 * np.log(alpha)[..., None] / (information * slowed))
    return rate, np.where((stable.total > 0) & (n_c > 0), stake, 0.0)


def _earned(
    stable: Counts, candidate: Counts, rate: Floats, stake: Floats
) -> Callable[[Floats], Floats]:
    """Returns the log earnings as a function of the difference that is bet against.

    No stake could lose all there is, against any difference that is possible.
    """
    ratio = candidate.total / np.maximum(stable.total, 1)
    most = _BOLDEST_LOSS / np.maximum(ratio * (1 - rate), 1)
    least = _BOLDEST_LOSS / np.maximum(ratio * rate, 1)
    stake = np.clip(stake, -least, most)
    of_stable = _log_earnings(stable, -stake * ratio, rate).sum(axis=-1)

    def earned(difference: Floats) -> Floats:
        centre = rate + difference[..., None]
        return of_stable + _log_earnings(candidate, stake, centre).sum(axis=-1)

    return earned


def _ratio_earned(
    stable: Counts, candidate: Counts, rate: Floats, stake: Floats, ratio: float
) -> float:
    """Returns the log earnings of bets against a ratio; those that could lose all are smaller."""
    rate = np.minimum(rate, 0.99 / ratio)
    centre = ratio * rate
    against = ratio * candidate.total / np.maximum(stable.total, 1)  # at stable, per unit here
    most = _BOLDEST_LOSS / np.maximum(np.maximum(centre, against * (1 - rate)), EPSILON)
    least = _BOLDEST_LOSS / np.maximum(np.maximum(1 - centre, against * rate), EPSILON)
    stake = np.clip(stake, -least, most)
    earned = _log_earnings(stable, -against * stake, rate)
    return float((earned + _log_earnings(candidate, stake, centre)).sum())


def _log_earnings(counts: Counts, stake: Floats, centre: Floats) -> Floats:
    """Returns each interval's sum of log(1 + stake (y - centre)), far below 0 in ruin."""
    won, lost = 1 + stake * (1 - centre), 1 - stake * centre
    logs = counts.bad * np.log(np.maximum(won, _RUIN))
    logs += (counts.total - counts.bad) * np.log(np.maximum(lost, _RUIN))
    return logs


def _bisect(earned: Callable[[Floats], Floats], needed: Floats, sides: Floats) -> Floats:
    """Returns the bounds: the last differences, from outside in, that are ruled out."""
    shape = np.shape(earned(sides))
    out, inside = np.full(shape, -1.0), np.full(shape, 1.0)
    for _ in range(_BISECTIONS):
        middle = (out + inside) / 2
        ruled_out = earned(sides * middle**3) >= needed
        out, inside = np.where(ruled_out, middle, out), np.where(ruled_out, inside, middle)
    return sides * out**3
