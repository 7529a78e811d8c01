"""Whether two distributions over K categories, or buckets of a histogram, are further apart.

Distance is total variation: the largest difference that any set of categories can show. So it
exceeds a tolerance as soon as one set does; which set to look at is chosen, for each interval, from
the intervals before it, and the set's share is then a rate like any other.
"""

from __future__ import annotations

import numpy as np

from rollout.judge.bounds import difference_bounds, rate_bounds
from rollout.judge.e_process import ceiling_evidence, harm_evidence
from rollout.judge.series import Categories, Counts, Floats, Mask

_GUESS = 0.5
_MOST_EXPECTED = 0.999


def distance(ours: Floats, theirs: Floats) -> float:
    """Returns the total variation distance of two distributions, each of shape (K,)."""
    if not ours.sum() or not theirs.sum():
        return 0.0
    return float(np.abs(ours / ours.sum() - theirs / theirs.sum()).sum() / 2)


def aligned(mine: Categories, theirs: Categories | None) -> tuple[Categories, Categories] | None:
    """Returns both with the same names; None where their buckets are of different profiles.

    A class that one version never predicted counts 0 there; buckets of numbers must be the same.
    """
    if theirs is None:
        return None
    if mine.names == theirs.names:
        return mine, theirs
    names = tuple(dict.fromkeys((*mine.names, *theirs.names)))
    if any(name.endswith("]") for name in names):
        return None
    return _renamed(mine, names), _renamed(theirs, names)


def _renamed(counted: Categories, names: tuple[str, ...]) -> Categories:
    nothing = np.where(counted.known, 0.0, np.nan)
    columns = {name: counted.counts[:, k] for k, name in enumerate(counted.names)}
    return Categories(names, np.stack([columns.get(name, nothing) for name in names], axis=1))


def stable_evidence(
    stable: Categories, candidate: Categories, tolerance: float, alpha: float
) -> Floats:
    """Returns the log e-value against "the distance is at most the tolerance" in each interval.

    Args:
        stable: counts, shape (T, K), all known.
        candidate: counts, shape (T, K), all known.
        tolerance: 0 to 1.
        alpha: the level it will be held against.

    Returns:
        shape (T,): running log e-values.
    """
    theirs, mine = _in_chosen_set(stable.counts, candidate.counts)
    return harm_evidence(theirs, mine, tolerance, _GUESS, alpha)


def reference_evidence(counts: Categories, reference: Floats, tolerance: float) -> Floats:
    """Returns the same against a fixed distribution, such as that of the training data.

    Args:
        counts: of one arm, shape (T, K), all known.
        reference: shares, shape (K,); taken as known exactly.
        tolerance: 0 to 1.

    Returns:
        shape (T,): running log e-values.
    """
    chosen: Mask = np.asarray(_before(counts.counts) > reference)
    expected = (chosen * reference).sum(axis=-1) + tolerance
    some = chosen & (expected < _MOST_EXPECTED)[..., None]  # nothing can exceed all
    return ceiling_evidence(_inside(some, counts.counts), np.minimum(expected, _MOST_EXPECTED))


def distance_bounds(stable: Categories, candidate: Categories, alpha: float) -> tuple[float, float]:
    """Returns bounds of the total variation distance, each missed with probability alpha.

    The lower one is that of the chosen sets' difference; the upper one adds up the categories'
    bounds, at a part of alpha each, and is wide for many categories.
    """
    theirs, mine = _in_chosen_set(stable.counts, candidate.counts)
    lower = float(difference_bounds(theirs, mine, _GUESS, alpha)[0])
    k = stable.counts.shape[-1]
    theirs, mine = _by_category(stable), _by_category(candidate)
    low, high = difference_bounds(theirs, mine, 1 / max(k, 2), alpha / (2 * k))
    upper = np.maximum(np.abs(low), np.abs(high)).sum() / 2
    return max(lower, 0.0), float(min(upper, 1.0))


def reference_bounds(counts: Categories, reference: Floats, alpha: float) -> tuple[float, float]:
    """Returns bounds of one arm's distance from a fixed distribution, each at level alpha."""
    k = counts.counts.shape[-1]
    low, high = rate_bounds(_by_category(counts), alpha / (2 * k))
    lower = np.maximum(low - reference, 0).sum()
    upper = np.maximum(np.abs(low - reference), np.abs(high - reference)).sum() / 2
    return float(lower), float(min(upper, 1.0))


def _by_category(counts: Categories) -> Counts:
    """Returns each category's counts among all, shape (K, T)."""
    whole = counts.counts.sum(axis=-1)
    return Counts(counts.counts.T, np.broadcast_to(whole, counts.counts.T.shape))


def _in_chosen_set(stable: Floats, candidate: Floats) -> tuple[Counts, Counts]:
    """Counts, of each arm, what falls where the candidate had more of its share so far."""
    chosen: Mask = np.asarray(_before(candidate) > _before(stable))
    return _inside(chosen, stable), _inside(chosen, candidate)


def _inside(chosen: Mask, counts: Floats) -> Counts:
    """Counts what falls into each interval's set; nothing where the set is empty."""
    inside = Counts((chosen * counts).sum(axis=-1), counts.sum(axis=-1))
    return inside.within(np.asarray(chosen.any(axis=-1)))


def _before(counts: Floats) -> Floats:
    """Returns the shares in all intervals before each one, shape (T, K); 0 where there are none."""
    so_far = np.cumsum(counts, axis=-2) - counts
    return so_far / np.maximum(so_far.sum(axis=-1, keepdims=True), 1)
