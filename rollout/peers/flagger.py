"""The rule of Flagger: a check per interval against a constant; failed checks add up, for good.

Source: fluxcd/flagger, pkg/controller/scheduler.go and scheduler_metrics.go.
"""

from __future__ import annotations

import numpy as np

from rollout.judge.series import Counts
from rollout.peers.reaction import Reaction, error_rates, first_interval, whichever_first


def flagger(candidate: Counts, ceiling: float, *, steps_needed: int, threshold: int) -> Reaction:
    """Runs a canary analysis over many rollouts.

    A check that succeeds advances by a step, one that fails only counts. An interval without data
    or without requests is a failed check. The first tick, at weight 0, is not checked against
    metrics and lies before the first interval.

    Args:
        candidate: counts, shape (..., T): one check at the end of each interval.
        ceiling: share of bad requests, of 1, that still succeeds.
        steps_needed: successful checks until promotion: the maximum weight over the step weight,
            rounded up.
        threshold: failed checks that roll back. They are seen at the next tick only, so that a
            rollout is rolled back one interval after the last of them; that may be interval T,
            which is not in the series any more.
    """
    succeeded = error_rates(candidate) <= ceiling
    too_many = first_interval(np.cumsum(~succeeded, axis=-1) >= threshold)
    promoted = first_interval(np.cumsum(succeeded, axis=-1) >= steps_needed)
    reaction = whichever_first(too_many, promoted)
    return Reaction(reaction.reverted_at + 1, reaction.passed_at)
