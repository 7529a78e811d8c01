"""Whether requests were split as declared: without that, no metric can be trusted."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from rollout.judge.e_process import e_value, peak, split_evidence
from rollout.judge.series import Compared, Mask, Observations
from rollout.judge.verdict import SplitVerdict

SPLIT_ALPHA = 0.001
_FEWEST_EQUAL = 3


def split(seen: Observations, which: Compared) -> SplitVerdict | None:
    """Tests the split of the present step alone: a wrong one that was mended is forgiven."""
    stable, candidate = seen.stable.routed, seen.candidate.routed
    with np.errstate(invalid="ignore"):
        known = (stable >= 0) & (candidate >= 0) & np.isfinite(stable + candidate)
    mask = which.step & known
    percents, mine = seen.weights[mask], candidate[mask]
    total = mine + stable[mask]
    if total.sum() == 0:
        return None
    evidence = peak(split_evidence(mine, total, percents))
    declared = float((total * percents).sum() / total.sum() / 100)
    observed = float(mine.sum() / total.sum())
    wrong = evidence >= -math.log(SPLIT_ALPHA)
    looks = "merged labels" if _merged(seen, mask) else None
    if (
        wrong
        and looks is None
        and peak(split_evidence(mine, total, 100 - percents)) < -math.log(SPLIT_ALPHA)
    ):
        looks = "swapped labels"
    return SplitVerdict(
        declared=declared,
        observed=observed,
        requests=int(total.sum()),
        e_value=e_value(evidence),
        wrong=wrong or looks is not None,
        looks=looks,
    )


def _merged(seen: Observations, mask: Mask) -> bool:
    """Whether both versions show the very same requests: labels that do not tell them apart.

    Equal numbers by chance have the probability of a draw; it is bounded by that of a fair split.
    """
    stable, candidate = seen.stable.routed[mask], seen.candidate.routed[mask]
    some = stable > 0
    if np.count_nonzero(some) < _FEWEST_EQUAL or np.any(stable != candidate):
        return False
    n = stable[some]
    draw = gammaln(2 * n + 1) - 2 * gammaln(n + 1) - 2 * n * math.log(2)
    same = all(
        np.array_equal(
            seen.stable.metrics[name].bad[mask],
            seen.candidate.metrics[name].bad[mask],
            equal_nan=True,
        )
        for name in seen.stable.metrics
        if name in seen.candidate.metrics
    )
    return same and bool(draw.sum() <= math.log(SPLIT_ALPHA))
