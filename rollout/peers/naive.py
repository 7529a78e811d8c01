"""The test of a textbook for one look, repeated at every look: what peeking does."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from rollout.judge.series import Counts
from rollout.peers.reaction import Reaction, passes_at_end, running_totals


def naive_z(stable: Counts, candidate: Counts, alpha: float) -> Reaction:
    """Repeats the one-sided two-proportion z-test on the totals so far at the end of each interval.

    Args:
        stable: counts, shape (..., T).
        candidate: counts, shape (..., T).
        alpha: level of each single look.

    Returns:
        the first look that rejects "the candidate's rate is at most stable's" reverts; if none
        does, the last one passes.
    """
    all_stable, all_candidate = running_totals(stable), running_totals(candidate)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (all_stable.bad + all_candidate.bad) / (all_stable.total + all_candidate.total)
        variance = pooled * (1 - pooled) * (1 / all_stable.total + 1 / all_candidate.total)
        difference = all_candidate.bad / all_candidate.total - all_stable.bad / all_stable.total
        z = difference / np.sqrt(variance)
        # NaN, without requests or without failures, rejects nothing.
        return passes_at_end(z > -ndtri(alpha))
