"""Evidence that can be looked at as often as one likes: e-processes for two Bernoulli arms.

The factor of an interval is a likelihood ratio between an alternative (rates of both arms, chosen
before the interval is seen) and the element of the null hypothesis that is nearest to it in
Kullback-Leibler divergence, weighted by the arms' sizes. For a convex null its expectation is at
most 1 whatever the true rates, so the product over intervals is an e-process even where the rates
differ between intervals; at most a share alpha of its paths ever reach 1/alpha (Ville).

Sources: Turner, Ly, Grünwald, "Generic E-Variables for Exact Sequential k-Sample Tests" (2021);
Turner, Grünwald, "Safe Sequential Testing and Effect Estimation in Stratified Count Data" (2022).
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, xlog1py, xlogy

from rollout.judge.series import Counts, Floats

PRIOR_REQUESTS = 20.0
"""How many requests the first guess of stable's rate counts for."""

EXCESSES = np.geomspace(0.002, 0.9, 14)
"""By how much a harmful candidate may exceed the margin: a mixture over these."""

GAINS = np.array([0.0, 0.5, 1.0, 2.0])
"""How much better than stable an acceptable candidate may be, in margins: a mixture over these
and over what the candidate has shown so far."""

_EPSILON = 1e-9
_BISECTIONS = 50
BOUND_BISECTIONS = 12
"""Bounds are exact to 2 * 2**-12, half a promille."""


def harm_evidence(stable: Counts, candidate: Counts, margin: float, guess: float) -> Floats:
    """Returns the log e-value, after each interval, against "worse by at most the margin".

    Late harm is not masked by a good beginning: half of the mass is on the first interval, the
    rest on every later one as the point where the harm begins.

    Args:
        stable: counts, shape (T,), all known.
        candidate: counts, shape (T,), all known.
        margin: by how much the candidate's rate may exceed stable's.
        guess: stable's rate before any interval is seen, above 0.

    Returns:
        shape (T,): running log e-values.
    """
    rate = _predicted_rate(stable, guess)[:, None]
    worse = np.clip(rate + margin + EXCESSES, _EPSILON, 1 - _EPSILON)
    factors = _log_factors(stable, candidate, rate, worse, margin, side=1)
    starts = np.arange(1, len(rate) + 1)
    # 1/2 on the first interval, 1/2 * 1/(j (j - 1)) on the j-th: adds up to 1 over all j.
    masses = np.where(starts == 1, 0.5, 0.5 / np.maximum(starts * (starts - 1), 1))
    total = np.cumsum(factors, axis=0)
    before = total - factors
    weighted = np.log(masses)[:, None] - before - np.log(len(EXCESSES))
    begun = np.logaddexp.accumulate(weighted, axis=0) + total
    not_begun = np.log(np.maximum(1 - np.cumsum(masses), _EPSILON))
    return np.logaddexp(logsumexp(begun, axis=1), not_begun)


def margin_evidence(stable: Counts, candidate: Counts, margin: float, guess: float) -> Floats:
    """Returns the log e-value, after each interval, against "worse by at least the margin".

    Arguments and result are as in `harm_evidence`.
    """
    rate = _predicted_rate(stable, guess)[:, None]
    good = np.hstack([rate - margin * GAINS, _predicted_rate(candidate, guess)[:, None]])
    good = np.clip(good, _EPSILON, 1 - _EPSILON)
    factors = _log_factors(stable, candidate, rate, good, margin, side=-1)
    return logsumexp(np.cumsum(factors, axis=0), axis=1) - np.log(good.shape[1])


def ceiling_evidence(counts: Counts, ceiling: float) -> Floats:
    """Returns the log e-value, after each interval, against "the rate is at most the ceiling"."""
    ceiling = float(np.clip(ceiling, _EPSILON, 1 - _EPSILON))
    above = np.clip(ceiling + EXCESSES, _EPSILON, 1 - _EPSILON)
    good = (counts.total - counts.bad)[:, None]
    factors = xlogy(counts.bad[:, None], above / ceiling) + good * np.log(
        (1 - above) / (1 - ceiling)
    )
    return logsumexp(np.cumsum(factors, axis=0), axis=1) - np.log(len(EXCESSES))


def split_evidence(candidate: Floats, total: Floats, percents: Floats) -> Floats:
    """Returns the log e-value, after each interval, against "the split is as declared".

    Args:
        candidate: requests that reached the candidate, shape (T,).
        total: requests that reached either arm, shape (T,).
        percents: the declared percentage, shape (T,), strictly between 0 and 100.
    """
    share = (percents / 100)[:, None]
    odds = share / (1 - share) * np.array([0.0, 0.2, 0.5, 0.8, 1.25, 2.0, 5.0, 1e6])
    other = odds / (1 + odds)
    rest = (total - candidate)[:, None]
    # A share of exactly 0 or 1 is an alternative too: one request of the other kind refutes it.
    with np.errstate(divide="ignore"):
        factors = xlogy(candidate[:, None], other / share) + xlog1py(rest, -other)
    factors -= rest * np.log1p(-share)
    return logsumexp(np.cumsum(factors, axis=0), axis=1) - np.log(odds.shape[1])


def difference_bounds(
    stable: Counts, candidate: Counts, guess: float, alpha: float
) -> tuple[float, float]:
    """Returns bounds of (candidate's rate - stable's rate), each missed with probability alpha.

    They hold at all times together: each is the margin at which the evidence just reaches 1/alpha.
    In some interval the difference is at least the lower one, in some at most the upper one; where
    it changes over time the lower one can exceed the upper one.
    """
    needed = -np.log(alpha)

    def refuted_below(margin: float) -> bool:
        return bool(np.max(harm_evidence(stable, candidate, margin, guess)) >= needed)

    def refuted_above(margin: float) -> bool:
        return bool(np.max(margin_evidence(stable, candidate, margin, guess)) >= needed)

    if len(stable.total) == 0:
        return -1.0, 1.0
    lower, beyond = -1.0, 1.0
    below, upper = -1.0, 1.0
    for _ in range(BOUND_BISECTIONS):
        middle = (lower + beyond) / 2
        lower, beyond = (middle, beyond) if refuted_below(middle) else (lower, middle)
        middle = (below + upper) / 2
        below, upper = (below, middle) if refuted_above(middle) else (middle, upper)
    return lower, upper


def _predicted_rate(arm: Counts, guess: float) -> Floats:
    """Returns an arm's rate as it is estimated before each interval is seen."""
    bad = np.concatenate([[0.0], np.cumsum(arm.bad)[:-1]])
    total = np.concatenate([[0.0], np.cumsum(arm.total)[:-1]])
    rate = (PRIOR_REQUESTS * guess + bad) / (PRIOR_REQUESTS + total)
    return np.clip(rate, _EPSILON, 1 - _EPSILON)


def _log_factors(
    stable: Counts, candidate: Counts, rate: Floats, other: Floats, margin: float, side: int
) -> Floats:
    """Returns log likelihood ratios, shape (T, G), of (rate, other) to the nearest null point.

    Where clipping has put an alternative on the null's side of the border, it tells nothing: 0.
    """
    null_stable = _nearest(stable.total[:, None], candidate.total[:, None], rate, other, margin)
    null_candidate = np.clip(null_stable + margin, _EPSILON, 1 - _EPSILON)
    null_stable = np.clip(null_stable, _EPSILON, 1 - _EPSILON)
    ratio = _log_ratio(stable, rate, null_stable) + _log_ratio(candidate, other, null_candidate)
    return np.where((other - rate - margin) * side > 0, ratio, 0.0)


def _log_ratio(counts: Counts, rate: Floats, null: Floats) -> Floats:
    bad, good = counts.bad[:, None], (counts.total - counts.bad)[:, None]
    return bad * np.log(rate / null) + good * np.log((1 - rate) / (1 - null))


def _nearest(
    stable_total: Floats, candidate_total: Floats, rate: Floats, other: Floats, margin: float
) -> Floats:
    """Returns the x on the border {(x, x + margin)} of the null that is nearest to (rate, other).

    Minimises n_s KL(rate, x) + n_c KL(other, x + margin), which is convex in x: bisection on its
    derivative. Also right outside the simplex of means for margins below 0.
    """
    low = np.clip(np.minimum(rate, other - margin), max(0.0, -margin), min(1.0, 1 - margin))
    high = np.clip(np.maximum(rate, other - margin), max(0.0, -margin), min(1.0, 1 - margin))
    for _ in range(_BISECTIONS):
        x = (low + high) / 2
        y = x + margin
        slope = stable_total * (x - rate) / np.maximum(x * (1 - x), _EPSILON)
        slope = slope + candidate_total * (y - other) / np.maximum(y * (1 - y), _EPSILON)
        low, high = np.where(slope < 0, x, low), np.where(slope < 0, high, x)
    return (low + high) / 2
