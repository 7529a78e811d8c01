"""The rule of GrowthBook's safe rollouts: a one-sided sequential confidence interval.

Source: growthbook/growthbook, packages/stats/gbstats/frequentist/tests.py; the interval is that of
Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences"
(arXiv 2103.06476), equations 9, 134, 155 and 161.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rollout.judge.series import Counts, Floats
from rollout.peers.reaction import Reaction, passes_at_end, running_totals

TUNED_FOR = 5000.0
"""At how many requests, of both arms, the interval is about as tight as it can be: N*."""

P_VALUE_RANGE = (1e-5, 0.4999)
"""GrowthBook looks for a p-value in this range only."""


def growthbook(
    stable: Counts, candidate: Counts, alpha: float, *, tuned_for: float = TUNED_FOR
) -> Reaction:
    """Looks at the difference of the error rates, from totals so far, after each interval.

    As in the source, there is no decision before both arms have had a failure and a success: an
    arm without any variance is an error there. Not taken over is the organisation's minimum of,
    by default, 150 failures in either arm, which would make it slower.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
        alpha: level of the one-sided interval.
        tuned_for: N*, requests of both arms.

    Returns:
        reverts where the interval of "candidate minus stable" lies above 0, else passes at the
        end, as a safe rollout does when its time is up.
    """
    all_stable, all_candidate = running_totals(stable), running_totals(candidate)
    with np.errstate(divide="ignore", invalid="ignore"):
        stable_rate = all_stable.bad / all_stable.total
        candidate_rate = all_candidate.bad / all_candidate.total
        stable_variance = stable_rate * (1 - stable_rate)
        candidate_variance = candidate_rate * (1 - candidate_rate)
        error = np.sqrt(
            stable_variance / all_stable.total + candidate_variance / all_candidate.total
        )
        requests = all_stable.total + all_candidate.total
        lower = candidate_rate - stable_rate - half_width(error, requests, alpha, tuned_for)
        decided = (stable_variance > 0) & (candidate_variance > 0)
        return passes_at_end(decided & (lower > 0))


def half_width(
    standard_error: ArrayLike, requests: ArrayLike, alpha: float, tuned_for: float = TUNED_FOR
) -> Floats:
    """Returns how far the one-sided interval reaches from the estimate.

    Args:
        standard_error: of the estimate, any shape.
        requests: of both arms, the same shape.
        alpha: level of the one-sided interval.
        tuned_for: N*, requests of both arms.
    """
    spread = _spread(requests, _rho(2 * alpha, tuned_for))
    # S at which the interval ends at 0: see `p_value`.
    bound = 2 * spread / (spread - 1) * np.log1p(np.sqrt(spread) / (2 * alpha))
    return np.asarray(standard_error, float) * np.sqrt(bound)


def p_value(
    estimate: ArrayLike,
    standard_error: ArrayLike,
    requests: ArrayLike,
    alpha: float,
    tuned_for: float = TUNED_FOR,
) -> Floats:
    """Returns the one-sided p-value: the level at which the interval ends at 0.

    Args:
        estimate: difference for which "above 0" is tested, any shape.
        standard_error: of the estimate, the same shape.
        requests: of both arms, the same shape.
        alpha: level that the width is tuned for; the p-value is below it exactly if the interval of
            that level does not contain 0.
        tuned_for: N*, requests of both arms.

    Returns:
        the same shape, in `P_VALUE_RANGE`.
    """
    spread = _spread(requests, _rho(2 * alpha, tuned_for))
    z = np.asarray(estimate, float) / np.asarray(standard_error, float)
    exponent = np.maximum(z, 0) ** 2 * (spread - 1) / (2 * spread)
    with np.errstate(divide="ignore", over="ignore"):
        level = np.sqrt(spread) / (2 * np.expm1(exponent))
    return np.clip(level, *P_VALUE_RANGE)


def e_value(
    estimate: ArrayLike,
    standard_error: ArrayLike,
    requests: ArrayLike,
    alpha: float,
    tuned_for: float = TUNED_FOR,
) -> Floats:
    """Returns the two-sided e-value against "no difference"; 1 over it is the two-sided p-value.

    Args:
        estimate: difference, any shape.
        standard_error: of the estimate, the same shape.
        requests: of both arms, the same shape.
        alpha: two-sided level that the mixture is tuned for.
        tuned_for: N*, requests of both arms.
    """
    spread = _spread(requests, _rho(alpha, tuned_for))
    z = np.asarray(estimate, float) / np.asarray(standard_error, float)
    return np.exp(z**2 * (spread - 1) / (2 * spread)) / np.sqrt(spread)


def _rho(two_sided_alpha: float, tuned_for: float) -> float:
    """Returns the scale of the mixture (equation 161)."""
    level = -2 * np.log(two_sided_alpha)
    return float(np.sqrt((level + np.log1p(level)) / tuned_for))


def _spread(requests: ArrayLike, rho: float) -> Floats:
    """Returns N rho^2 + 1, by which the mixture widens the distribution of the estimate."""
    return np.asarray(requests, float) * rho**2 + 1
