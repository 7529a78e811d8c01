"""Whether requests within an arm fail independently, and what is tested where they do not.

A burst that hits both arms is no matter: it is in both rates of its interval. One that hits a
single arm (one of its pods, its sticky users) makes the arms differ by more than chance allows,
and a test that counts requests takes that for harm. So the jumps of the difference between
intervals, and of the rate between pods, are compared with what independent requests would show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rollout.judge.bets import EPSILON, from_any_interval, predicted_rate
from rollout.judge.series import Counts, Floats, Mask

SUSPICION = 0.4
"""With independent requests dispersion is suspected in about this share of all looks."""

LONG_SUSPICION = 0.1
"""The same of blocks of intervals."""

BLOCK_INTERVALS = 5
"""Causes in one arm that last about so long are seen as such, not as harm, once they have come
and gone."""

_STAKES = np.array([0.05, 0.12, 0.25, 0.5, 0.9])
_USUAL_SPREAD = 4.0
"""An interval counts as bad by at most this many times the usual rate (and 3 standard errors)."""


def excess_spread(stable: Counts, candidate: Counts) -> tuple[Floats, Floats, Floats]:
    """Measures how the difference of the arms jumps from one interval to the next, so far.

    What a change of both arms' rates does to a difference that is in proportion to them is taken
    off first: where one arm fails twice as often, a burst in both doubles the difference. Each jump
    is divided by the standard error it has for independent requests at the rates of its two
    intervals. Jumps, not distances from a mean: harm that begins late is one jump and no more.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).

    Returns:
        Sum of squares, its degrees of freedom, and the variance of that sum where requests are
        independent; each of shape (..., T).
    """
    both = (stable.total > 0) & (candidate.total > 0)
    if not both.size:
        return stable.total, stable.total, stable.total
    n_s, n_c = np.maximum(stable.total, 1), np.maximum(candidate.total, 1)
    pooled = (stable.bad + candidate.bad + 0.5) / (stable.total + candidate.total + 1)
    relative_s, relative_c = _relative_rates(stable, candidate)
    p_s, p_c = (np.clip(pooled * it, EPSILON, 0.999) for it in (relative_s, relative_c))
    v_s, v_c = p_s * (1 - p_s) / n_s, p_c * (1 - p_c) / n_c
    variance = v_s + v_c
    difference = candidate.bad / n_c - stable.bad / n_s
    # The fourth moment of rare events is large; without it a single failure would look like one.
    kurtosis = (v_c**2 / (n_c * p_c) + v_s**2 / (n_s * p_s)) / variance**2
    before, counted = _previous(both)
    jump = difference - np.take_along_axis(difference, before, axis=-1)
    jump -= (relative_c - relative_s) * (pooled - np.take_along_axis(pooled, before, axis=-1))
    squares = jump**2 / (variance + np.take_along_axis(variance, before, axis=-1))
    return (
        np.cumsum(np.where(counted, squares, 0.0), axis=-1),
        np.cumsum(counted, axis=-1, dtype=float),
        # 2 for a squared normal, and 1 because neighbouring jumps have an interval in common.
        np.cumsum(np.where(counted, 3 + kurtosis, 0.0), axis=-1),
    )


def pod_spread(pods: Counts) -> tuple[Floats, Floats, Floats]:
    """Measures how the rates of one arm's pods spread within the intervals so far.

    Args:
        pods: counts, shape (P, T); a pod that is gone or not known counts nothing.

    Returns:
        As `excess_spread`, shape (T,).
    """
    known = pods.known & (pods.total > 0)
    bad, total = (np.where(known, it, 0.0) for it in (pods.bad, pods.total))
    arm = np.clip(bad.sum(axis=0) / np.maximum(total.sum(axis=0), 1), EPSILON, 1 - EPSILON)
    expected = total * arm
    squares = np.where(known, (bad - expected) ** 2 / np.maximum(expected * (1 - arm), EPSILON), 0)
    some = bad.sum(axis=0) > 0
    freedom = np.where(some, np.maximum(known.sum(axis=0) - 1.0, 0), 0)
    variance = np.where(some, np.sum(known * (2 + 1 / np.maximum(expected, EPSILON)), axis=0), 0)
    return (
        np.cumsum(np.where(some, squares.sum(axis=0), 0)),
        np.cumsum(freedom),
        np.cumsum(variance),
    )


def dispersion(
    squares: Floats, freedom: Floats, variance: Floats, *, suspicion: float = SUSPICION
) -> Floats:
    """Returns how much wider than for independent requests the spread is: 1 where not suspected.

    Where it is, one standard error is added: it errs on the safe side while little is known.

    Args:
        squares: from `excess_spread` and `pod_spread`, whose parts add up.
        freedom: the same.
        variance: the same.
        suspicion: with independent requests it is suspected in about this share of all looks.
    """
    error = np.sqrt(variance)
    suspected = squares - freedom > -ndtri(suspicion) * error
    spread = (squares + error) / np.maximum(freedom, 1)
    return np.where(suspected, np.maximum(spread, 1.0), 1.0)


def long_dispersion(stable: Counts, candidate: Counts) -> Floats:
    """Returns the same from block to block of `BLOCK_INTERVALS`.

    Where bursts last, single intervals do not jump much, but blocks do.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
    """
    both = (stable.total > 0) & (candidate.total > 0)
    used = np.cumsum(both, axis=-1)
    complete = used // BLOCK_INTERVALS
    if not complete.size or not complete[..., -1].any():
        return np.ones_like(stable.total)
    block = np.maximum(used - 1, 0) // BLOCK_INTERVALS
    arms = (_added_up(stable.within(both), block), _added_up(candidate.within(both), block))
    by_block = dispersion(*excess_spread(*arms), suspicion=LONG_SUSPICION)
    known = np.take_along_axis(by_block, np.maximum(complete - 1, 0), axis=-1)
    return np.where(complete > 0, known, 1.0)


def _added_up(arm: Counts, block: NDArray[np.intp]) -> Counts:
    """Adds up the intervals of each block, shape (..., B)."""
    blocks = int(block.max()) + 1
    rows = np.arange(block[..., 0].size).reshape(*block.shape[:-1], 1)
    place = (rows * blocks + block).ravel()
    shape = (*block.shape[:-1], blocks)

    def added(counts: Floats) -> Floats:
        whole = np.bincount(place, counts.ravel(), minlength=rows.size * blocks)
        return whole.astype(float).reshape(shape)

    return Counts(added(arm.bad), added(arm.total))


def interval_evidence(
    stable: Counts,
    candidate: Counts,
    margin: NDArray[Any] | float,
    guess: NDArray[Any] | float,
) -> Floats:
    """Returns the log e-value against "worse by at most the margin" with the interval as the unit.

    A bounded test: an interval counts as one value per arm, its share of bad answers, cut off at
    some times the usual rate. However requests depend on each other within an interval, a single
    one can at most about double the stake. It needs intervals to be alike in both arms and
    independent of each other: bursts that last for several are too much for it. A candidate with
    fewer requests is cut off more, which errs on the safe side.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
        margin: broadcasts to (...,).
        guess: the rate before any interval is seen; broadcasts to (...,).

    Returns:
        shape (..., T): running log e-values.
    """
    margin = np.asarray(margin, dtype=float)[..., None]
    both = (stable.total > 0) & (candidate.total > 0)
    pooled = Counts(stable.bad + candidate.bad, stable.total + candidate.total)
    usual = predicted_rate(pooled, np.asarray(guess, dtype=float)[..., None])
    noise = np.sqrt(usual / np.maximum(candidate.total, 1))
    most = np.minimum(_USUAL_SPREAD * (usual + np.abs(margin)) + 3 * noise, 1.0)
    mine, theirs = (
        np.minimum(arm.bad / np.maximum(arm.total, 1), most) for arm in (candidate, stable)
    )
    scaled = np.where(both, (mine - theirs - margin) / (most + np.abs(margin)), 0.0)
    factors = np.log(1 + _STAKES[:, None] * scaled[..., None, :])
    return from_any_interval(factors)


def _previous(some: Mask) -> tuple[NDArray[np.intp], Mask]:
    """Returns the index of the marked interval before each one, and where there are both."""
    at = np.where(some, np.arange(some.shape[-1]), -1)
    last = np.maximum.accumulate(at, axis=-1)
    before = np.concatenate([np.full((*some.shape[:-1], 1), -1), last[..., :-1]], axis=-1)
    return np.maximum(before, 0), some & (before >= 0)


def _relative_rates(stable: Counts, candidate: Counts) -> tuple[Floats, Floats]:
    """Returns each arm's rate so far divided by that of both together."""
    bad, total = (
        [np.cumsum(it, axis=-1) + prior for it in pair]
        for pair, prior in (
            ((stable.bad, candidate.bad), 0.5),
            ((stable.total, candidate.total), 1.0),
        )
    )
    pooled = (bad[0] + bad[1]) / (total[0] + total[1])
    return bad[0] / total[0] / pooled, bad[1] / total[1] / pooled
