"""Wald's sequential probability ratio test, told the true rates: the limit of what is possible.

Source: Wald, "Sequential Tests of Statistical Hypotheses" (1945). Only the boundary that rejects
"healthy" is used: the likelihood ratio is an e-process, which reaches 1/alpha with probability at
most alpha under that hypothesis. No test of that level reacts to much less evidence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlog1py, xlogy

from rollout.judge.series import Counts, Floats, Mask
from rollout.peers.reaction import Reaction, first_interval


def wald(
    candidate: Counts, healthy_rate: ArrayLike, harmful_rate: ArrayLike, alpha: float
) -> Reaction:
    """Tests a candidate against a rate that is known.

    Args:
        candidate: counts, shape (..., T).
        healthy_rate: what the rate of a healthy candidate would be, of 1; scalar, or per interval,
            shape (T,) or (..., T).
        harmful_rate: the rate of the harmful candidate, likewise.
        alpha: at most this share of healthy candidates is ever reverted.

    Returns:
        never passes: the test is open-ended.
    """
    factors = _log_likelihood(candidate, harmful_rate) - _log_likelihood(candidate, healthy_rate)
    return _reverts(factors, candidate.known, alpha)


def wald_two_arms(
    stable: Counts,
    candidate: Counts,
    healthy_rate: ArrayLike,
    harmful_rate: ArrayLike,
    alpha: float,
) -> Reaction:
    """Tests a candidate against stable, whose rate is known to the test but not to the hypothesis.

    The hypothesis is that both arms have the same rate, whatever it is, in every interval. Its
    element that is the hardest to tell from the truth, in Kullback-Leibler divergence, is the mean
    of the two true rates, weighted by the arms' requests. So this is what a test against a
    concurrent stable version with margin 0 could reach at best.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
        healthy_rate: stable's true rate, of 1; scalar, or per interval, shape (T,) or (..., T).
        harmful_rate: the harmful candidate's true rate, likewise.
        alpha: at most this share of healthy candidates is ever reverted.

    Returns:
        never passes: the test is open-ended.
    """
    healthy, harmful = np.asarray(healthy_rate, float), np.asarray(harmful_rate, float)
    requests = stable.total + candidate.total
    with np.errstate(divide="ignore", invalid="ignore"):
        null = (stable.total * healthy + candidate.total * harmful) / requests
    factors = (
        _log_likelihood(stable, healthy)
        + _log_likelihood(candidate, harmful)
        - _log_likelihood(stable, null)
        - _log_likelihood(candidate, null)
    )
    return _reverts(factors, stable.known & candidate.known & (requests > 0), alpha)


def _log_likelihood(counts: Counts, rate: ArrayLike) -> Floats:
    good = counts.total - counts.bad
    return xlogy(counts.bad, rate) + xlog1py(good, -np.asarray(rate, float))


def _reverts(factors: Floats, usable: Mask, alpha: float) -> Reaction:
    evidence = np.cumsum(np.where(usable, factors, 0.0), axis=-1)
    reverted_at = first_interval(evidence >= -np.log(alpha))
    return Reaction(reverted_at, np.full(reverted_at.shape, np.inf))
