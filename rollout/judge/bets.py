"""Bets against a null hypothesis on two Bernoulli arms, one per interval.

The null: in every interval the candidate's rate is at most (or at least) `slope * stable's rate +
margin`. A bet multiplies the stake, per request, by 1 + b (y - c) at the candidate and by
1 + a (y - x) at stable, where y is 1 for a bad answer, (x, c = slope x + margin) is a point on
the border, and n_s a + slope n_c b = 0 for the arms' sizes n. Its expectation over an interval is

    (1 + a (p_s - x))^n_s (1 + b (p_c - c))^n_c  <=  exp(n_c b (p_c - margin - slope p_s))  <=  1

wherever the null holds, whatever the rates are and however they change from interval to interval
(they need not even be constant within one). So each product over intervals is an e-process, and at
most a share alpha of its paths ever reaches 1/alpha (Ville's inequality).

The point and the stakes that make it grow fastest for given alternative rates are those of the
reverse information projection: Turner, Ly, Gruenwald, "Generic E-Variables for Exact Sequential
k-Sample Tests" (2021); with a margin: Turner, Gruenwald (2022). Here they are found approximately;
that costs a little growth and no validity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollout.judge.series import Counts, Floats

EPSILON = 1e-9
PRIOR_REQUESTS = 20.0
"""How many requests the first guess of a rate counts for."""

START_MASS = 0.85
"""Prior probability that harm, if any, is there from the first interval on."""

_BOLDEST = 0.9999
"""Of the stake that would lose all in one request."""

_EXPONENTS = 650.0
"""The widest range of logarithms that double precision can add up without loss."""


def predicted_rate(arm: Counts, guess: NDArray[Any] | float) -> Floats:
    """Returns an arm's rate as it is estimated before each interval is seen, shape (..., T)."""
    bad = np.cumsum(arm.bad, axis=-1) - arm.bad
    total = np.cumsum(arm.total, axis=-1) - arm.total
    rate = (PRIOR_REQUESTS * guess + bad) / (PRIOR_REQUESTS + total)
    return np.clip(rate, EPSILON, 1 - EPSILON)


def log_factors(
    stable: Counts,
    candidate: Counts,
    stable_rate: Floats,
    candidate_rate: Floats,
    *,
    margin: NDArray[Any] | float,
    slope: float = 1.0,
) -> Floats:
    """Returns what each bet earns in each interval, as logarithms.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
        stable_rate: alternative, chosen before each interval; broadcasts to (..., G, T).
        candidate_rate: alternative, shape (..., G, T); above the border it bets on harm, below it
            on its absence.
        margin: broadcasts to (..., G, T).
        slope: of the border, above 0.

    Returns:
        shape (..., G, T).
    """
    n_s, n_c = stable.total[..., None, :], candidate.total[..., None, :]
    low = np.maximum(0.0, -np.asarray(margin) / slope) + EPSILON
    high = np.minimum(1.0, (1 - np.asarray(margin)) / slope) - EPSILON
    x = np.minimum(np.maximum(stable_rate, low), high)
    c = slope * x + margin
    # The stake at the projection: there, both arms' rates are seen as one.
    whole = np.maximum(n_s + slope**2 * n_c, 1)
    projected = (slope**2 * n_c / whole) * (candidate_rate - margin)
    projected += margin + slope * (n_s / whole) * stable_rate
    np.clip(projected, EPSILON, 1 - EPSILON, out=projected)
    b = candidate_rate - projected
    b /= projected * (1 - projected)
    # Never more than can be lost; nothing where one of the arms had no request.
    ratio = slope * n_c / np.maximum(n_s, 1)
    none = (n_s == 0) | (n_c == 0)
    most = np.where(none, 0.0, _BOLDEST / np.maximum(c, ratio * (1 - x)))
    least = np.where(none, 0.0, -_BOLDEST / np.maximum(1 - c, ratio * x))
    np.clip(b, least, most, out=b)
    bad_s, bad_c = stable.bad[..., None, :], candidate.bad[..., None, :]
    earned = np.zeros_like(b)
    for stake, times in (
        (ratio * (x - 1), bad_s),
        (ratio * x, n_s - bad_s),
        (1 - c, bad_c),
        (-c, n_c - bad_c),
    ):
        # In place: at this size, new arrays cost more than the arithmetic.
        term = b * stake
        term += 1
        np.log(term, out=term)
        term *= times
        earned += term
    return earned


def from_the_start(factors: Floats, log_weights: Floats | None = None) -> Floats:
    """Returns the log of a mixture of products over intervals, shape (..., T).

    Args:
        factors: log earnings, shape (..., G, T).
        log_weights: of the G alternatives, shape (G,), adding up to 1 as probabilities; equal
            where absent.
    """
    total = np.cumsum(factors, axis=-1)
    total += _by_bet(factors, log_weights)
    return _log_sum(total)


def from_any_interval(factors: Floats, log_weights: Floats | None = None) -> Floats:
    """Returns the same where betting may begin late, so that a good beginning masks no harm.

    `START_MASS` is on the first interval, the rest on the j-th one (j > 1) in proportion to
    1 / (j (j - 1)), which adds up to 1 over all j.
    """
    total = np.cumsum(factors, axis=-1)
    starts = np.arange(1, factors.shape[-1] + 1, dtype=float)
    later = (1 - START_MASS) / np.maximum(starts * (starts - 1), 1)
    begun = factors - total
    begun += np.log(np.where(starts == 1, START_MASS, later))
    begun = _log_cumulative(begun)
    begun += total
    begun += _by_bet(factors, log_weights)
    not_begun = np.log((1 - START_MASS) / starts)
    return np.logaddexp(_log_sum(begun), not_begun)


def _by_bet(factors: Floats, log_weights: Floats | None) -> Floats:
    """Returns the bets' log weights as a column, equal ones where none are given."""
    bets = factors.shape[-2]
    return np.full((bets, 1), -np.log(bets)) if log_weights is None else log_weights[:, None]


def _log_sum(logs: Floats) -> Floats:
    """Returns log(sum(exp(logs))) over the bets, in place; scipy's own takes thrice as long."""
    top = logs.max(axis=-2, keepdims=True)
    logs -= top
    return np.log(np.exp(logs, out=logs).sum(axis=-2)) + top[..., 0, :]


def _log_cumulative(logs: Floats) -> Floats:
    """Returns log(cumsum(exp(logs))) over the intervals, the last axis, in place."""
    top = logs.max(axis=-1, initial=-np.inf)
    narrow = top - logs.min(axis=-1, initial=np.inf) < _EXPONENTS
    wide = logs[~narrow]  # what is so far apart needs the slow way
    logs -= top[..., None]
    logs[~narrow] = 0.0
    np.cumsum(np.exp(logs, out=logs), axis=-1, out=logs)
    np.log(logs, out=logs)
    logs += top[..., None]
    if wide.size:
        logs[~narrow] = np.logaddexp.accumulate(wide, axis=-1)
    return logs
