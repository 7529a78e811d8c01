"""When a rule reverts a rollout or lets it pass, and what all rules count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollout.judge.series import Counts, Floats, Mask


@dataclass(frozen=True)
class Reaction:
    """What a rule does with rollouts.

    Attributes:
        reverted_at: shape (...): number of the interval, 0-based, at whose end the rule reverts;
            inf if never.
        passed_at: shape (...): the same for letting the rollout pass.
    """

    reverted_at: Floats
    passed_at: Floats


def whichever_first(reverted_at: Floats, passed_at: Floats) -> Reaction:
    """Returns the reaction of a rule that stops at the first of two events.

    Args:
        reverted_at: shape (...): interval of the event that reverts, inf if never.
        passed_at: shape (...): interval of the event that passes, inf if never. Of two events in
            the same interval the reverting one counts.
    """
    reverts = reverted_at <= passed_at
    return Reaction(np.where(reverts, reverted_at, np.inf), np.where(reverts, np.inf, passed_at))


def passes_at_end(rejected: Mask) -> Reaction:
    """Returns the reaction of a rule that reverts at the first look that rejects, or else passes.

    Args:
        rejected: shape (..., T): whether the look at the end of each interval rejects.
    """
    end = np.full(rejected.shape[:-1], float(rejected.shape[-1] - 1))
    return whichever_first(first_interval(rejected), end)


def first_interval(mask: Mask) -> Floats:
    """Returns the number of the first marked interval, inf if there is none.

    Args:
        mask: shape (..., T).

    Returns:
        shape (...).
    """
    return np.where(mask.any(axis=-1), mask.argmax(axis=-1), np.inf)


def error_rates(counts: Counts) -> Floats:
    """Returns the share of bad requests per interval.

    Args:
        counts: shape (..., T).

    Returns:
        shape (..., T): NaN where the counts are missing, or there were no requests.
    """
    usable = counts.known & (counts.total > 0)
    return np.divide(counts.bad, counts.total, out=np.full(usable.shape, np.nan), where=usable)


def running_totals(counts: Counts) -> Counts:
    """Adds up the counts from the first interval to each; missing ones add nothing.

    Args:
        counts: shape (..., T).

    Returns:
        shape (..., T).
    """
    known = counts.known
    return Counts(
        np.cumsum(np.where(known, counts.bad, 0.0), axis=-1),
        np.cumsum(np.where(known, counts.total, 0.0), axis=-1),
    )
