"""Evidence that can be looked at as often as one likes: e-processes on counts.

Every function takes counts of shape (..., T) without unknown values (see `Counts.within`) and
returns running log e-values of shape (..., T). Margins, guesses and levels broadcast to (...,).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from rollout.judge.bets import (
    EPSILON,
    from_any_interval,
    from_the_start,
    log_factors,
    predicted_rate,
)
from rollout.judge.dispersion import (
    dispersion,
    excess_spread,
    interval_evidence,
    long_dispersion,
)
from rollout.judge.series import Counts, Floats

Levels = NDArray[Any] | float

ODDS = np.array([1.2, 1.6, 2.1, 3.5, 9.0, 50.0])
"""By how much a harmful candidate's odds may exceed those at the margin: a mixture over these."""

ODDS_WEIGHTS = np.array([0.1, 0.22, 0.38, 0.18, 0.08, 0.04])

GAINS = np.array([0.0, 0.5, 1.0, 2.0])
"""How much better than stable an acceptable candidate may be, in margins: a mixture over these
and over what the candidate has shown so far, which comes last in the weights."""

GAINS_WEIGHTS = np.array([0.35, 0.15, 0.15, 0.1, 0.25])

MOST_OF_ONE_INTERVAL = 0.75
"""No interval alone brings more than this part of the evidence for a revert."""

EXTREME = 0.1
"""Proved to fail this share more of its requests than stable: one interval is enough."""

_EXTREME_ODDS = np.array([3.5, 9.0, 50.0])
_EXTREME_WEIGHTS = np.array([0.25, 0.5, 0.25])
_EXCESSES = np.geomspace(0.002, 0.9, 10)
_SHORTFALLS = np.array([0.1, 0.25, 0.5, 0.75])
_WRONG_ODDS = np.array([0.0, 0.2, 0.5, 0.8, 1.25, 2.0, 5.0, 1e6])


def harm_evidence(
    stable: Counts,
    candidate: Counts,
    margin: Levels,
    guess: Levels,
    alpha: Levels,
    *,
    dispersed: bool = True,
    late: bool = True,
    spread: Floats | None = None,
) -> Floats:
    """Returns evidence against "worse by at most the margin".

    Two things keep a single bad interval from passing for sustained harm: it brings at most
    `MOST_OF_ONE_INTERVAL` of what is needed; and where the arms differ by more than chance from
    interval to interval, the evidence is divided by the dispersion, or replaced by that of the
    bounded test with the interval as its unit if that is more. Both only ever make the value
    smaller, so it stays below 1/alpha with probability 1 - alpha at least.

    Args:
        stable: counts.
        candidate: counts.
        margin: by how much the candidate's rate may exceed stable's.
        guess: stable's rate before any interval is seen, above 0.
        alpha: the level it will be held against.
        dispersed: look for dependent requests.
        late: harm may begin in any interval, not only in the first.
        spread: `dispersion`, where it is known already; shape (..., T).
    """
    accumulate = from_any_interval if late else from_the_start
    most = -MOST_OF_ONE_INTERVAL * np.log(_per_interval(alpha))
    factors = _harm_factors(stable, candidate, margin, guess)
    np.minimum(factors, most, out=factors)
    evidence = accumulate(factors, np.log(ODDS_WEIGHTS))
    if not dispersed:
        return evidence
    if spread is None:
        spread = spread_of(stable, candidate)
    doubtful = (spread > 1) & (evidence >= -np.log(_per_row(alpha)))
    if not np.any(doubtful):
        return evidence
    bounded = interval_evidence(stable, candidate, margin, guess)
    careful = np.minimum(np.maximum(bounded, evidence / spread), evidence)
    return np.where(doubtful, careful, evidence)


def extreme_evidence(stable: Counts, candidate: Counts, guess: Levels) -> Floats:
    """Returns evidence against "worse by at most `EXTREME`", which one interval may decide."""
    factors = _harm_factors(stable, candidate, EXTREME, guess, _EXTREME_ODDS)
    return from_any_interval(factors, np.log(_EXTREME_WEIGHTS))


def margin_evidence(
    stable: Counts,
    candidate: Counts,
    margin: Levels,
    guess: Levels,
    *,
    dispersed: bool = True,
) -> Floats:
    """Returns evidence against "worse by at least the margin".

    Where the arms differ by more than chance from interval to interval, it is divided by the
    dispersion: as if there were so many times fewer requests.

    Args:
        stable: counts.
        candidate: counts.
        margin: by how much the candidate's rate may exceed stable's.
        guess: stable's rate before any interval is seen, above 0.
        dispersed: look for dependent requests.
    """
    limit = _per_interval(margin)
    rate = predicted_rate(stable, _per_row(guess))[..., None, :]
    shown = predicted_rate(candidate, _per_row(guess))[..., None, :]
    good = np.concatenate([rate - limit * GAINS[:, None], shown], axis=-2)
    good = np.clip(good, EPSILON, 1 - EPSILON)
    factors = log_factors(stable, candidate, rate, good, margin=limit)
    factors = np.where(good < rate + limit, factors, 0.0)
    evidence = from_the_start(factors, np.log(GAINS_WEIGHTS))
    if not dispersed:
        return evidence
    return np.where(evidence > 0, evidence / spread_of(stable, candidate), evidence)


def ceiling_evidence(counts: Counts, ceiling: Levels) -> Floats:
    """Returns evidence against "the rate is at most the ceiling", which broadcasts to (..., T)."""
    limit = np.clip(_over_bets(ceiling), EPSILON, 1 - EPSILON)
    above = np.clip(limit + _EXCESSES[:, None], EPSILON, 1 - EPSILON)
    return _one_arm(counts, limit, above)


def floor_evidence(counts: Counts, floor: Levels) -> Floats:
    """Returns evidence against "the rate is at least the floor", which broadcasts to (..., T)."""
    limit = np.clip(_over_bets(floor), EPSILON, 1 - EPSILON)
    return _one_arm(counts, limit, limit * (1 - _SHORTFALLS[:, None]))


def split_evidence(candidate: Floats, total: Floats, percents: Floats) -> Floats:
    """Returns evidence against "the split is as declared".

    Args:
        candidate: requests that reached the candidate, shape (T,).
        total: requests that reached either arm, shape (T,).
        percents: the declared percentage, shape (T,), strictly between 0 and 100.
    """
    share = percents / 100
    odds = share / (1 - share) * _WRONG_ODDS[:, None]
    other = odds / (1 + odds)
    rest = total - candidate
    # A share of exactly 0 or 1 is an alternative too: one request of the other kind refutes it.
    with np.errstate(divide="ignore"):
        factors = xlogy(candidate, other / share) + xlog1py(rest, -other)
    factors -= rest * np.log1p(-share)
    return from_the_start(factors)


def spread_of(stable: Counts, candidate: Counts) -> Floats:
    """Returns the dispersion from interval to interval or from block to block, whichever is more.

    1 where it is not suspected; shape (..., T).
    """
    by_interval = dispersion(*excess_spread(stable, candidate))
    return np.maximum(by_interval, long_dispersion(stable, candidate))


def peak(evidence: Floats) -> float:
    """Returns the highest log e-value so far: by Ville's inequality, it may be stopped there."""
    return float(evidence.max()) if evidence.size else 0.0


def e_value(log_e: float) -> float:
    """Returns the e-value, kept finite."""
    return math.exp(min(log_e, 690.0))


def _harm_factors(
    stable: Counts, candidate: Counts, margin: Levels, guess: Levels, odds_over: Floats = ODDS
) -> Floats:
    limit = _per_interval(margin)
    rate = predicted_rate(stable, _per_row(guess))[..., None, :]
    border = np.clip(rate + limit, EPSILON, 1 - EPSILON)
    odds = odds_over[:, None] * (border / (1 - border))
    worse = np.clip(odds / (1 + odds), EPSILON, 1 - EPSILON)
    factors = log_factors(stable, candidate, rate, worse, margin=limit)
    # Where the border is beyond 0 or 1, nothing can be worse by more: no bet.
    return np.where(worse > rate + limit, factors, 0.0)


def _one_arm(counts: Counts, limit: Floats, other: Floats) -> Floats:
    bad, good = counts.bad[..., None, :], (counts.total - counts.bad)[..., None, :]
    factors = bad * np.log(other / limit) + good * np.log((1 - other) / (1 - limit))
    return from_the_start(factors)


def _per_row(level: Levels) -> NDArray[Any]:
    """Returns a level of shape (...,) as (..., 1): the same in all intervals."""
    return np.asarray(level, dtype=float)[..., None]


def _over_bets(level: Levels) -> NDArray[Any]:
    """Returns a level that broadcasts to (..., T) as one that broadcasts to (..., G, T)."""
    level = np.asarray(level, dtype=float)
    return level[..., None, :] if level.ndim else level


def _per_interval(level: Levels) -> NDArray[Any]:
    """Returns a level of shape (...,) as (..., 1, 1): the same in all bets and intervals."""
    return np.asarray(level, dtype=float)[..., None, None]
