"""Tests that users know by name. They may hold a rollout or raise an alert; they never revert.

They are made for one look at two samples. Here the samples are those of the present step, since
what is asked may change with the time of day while the split changes, too; and a test looks only
when the smaller sample has doubled. The k-th look of the s-th step is held against
level / (k (k + 1) s (s + 1)), which adds up to the level over all looks and steps; several tests
share it equally (Bonferroni). The index PSI has no level: it is compared with its limit as it is,
at the last look, as users expect it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import kolmogorov, ndtr

from models.judging import ExtraTest
from rollout.judge.series import Categories, Compared, Floats, Observations

FIRST_LOOK = 100
"""Values in the smaller sample at the first look."""

_PSI_SMOOTHING = 0.5


@dataclass(frozen=True)
class ExtraVerdict:
    """What one extra test says.

    Attributes:
        name: test and what it looked at.
        statistic: of the test, at the look that found something, else the last one.
        p_value: at the same look; None for an index and for `sustained`.
        level: what the p-value was held against at that look, or the limit.
        found: the test finds a difference, at this or an earlier look.
        then: hold or alert.
        reason: one sentence.
    """

    name: str
    statistic: float
    p_value: float | None
    level: float
    found: bool
    then: str
    reason: str


def ks(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Returns statistic and p-value of the two-sample Kolmogorov-Smirnov test on buckets.

    On buckets the test errs on the safe side. Arguments are counts of shape (K,), in order.
    """
    statistic = float(np.abs(np.cumsum(ours) / ours.sum() - np.cumsum(theirs) / theirs.sum()).max())
    size = ours.sum() * theirs.sum() / (ours.sum() + theirs.sum())
    return statistic, float(kolmogorov(statistic * np.sqrt(size)))


def chi_squared(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Returns statistic and p-value of Pearson's test of homogeneity, counts of shape (K,)."""
    table = np.array([ours, theirs])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    from scipy.stats import chi2_contingency  # noqa: PLC0415  it takes half a second to import

    statistic, p_value, *_ = chi2_contingency(table, correction=False)
    return float(statistic), float(p_value)  # pyright: ignore[reportArgumentType]


def mann_whitney(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Returns statistic and two-sided p-value of the Mann-Whitney test on ordered buckets.

    Values in one bucket are ties. Arguments are counts of shape (K,), in order.
    """
    n, m = float(ours.sum()), float(theirs.sum())
    tied = ours + theirs
    ranks = np.cumsum(tied) - (tied - 1) / 2
    statistic = float((ours * ranks).sum()) - n * (n + 1) / 2
    whole = n + m
    variance = n * m / 12 * (whole + 1 - float((tied**3 - tied).sum()) / (whole * (whole - 1)))
    if variance <= 0:
        return statistic, 1.0
    z = max(abs(statistic - n * m / 2) - 0.5, 0) / np.sqrt(variance)
    return statistic, float(2 * ndtr(-z))


def psi(ours: Floats, theirs: Floats) -> float:
    """Returns the population stability index, counts of shape (K,); empty buckets count half."""
    p, q = (
        (counts + _PSI_SMOOTHING) / (counts + _PSI_SMOOTHING).sum() for counts in (ours, theirs)
    )
    return float(((p - q) * np.log(p / q)).sum())


_TESTS: dict[str, Callable[[Floats, Floats], tuple[float, float]]] = {
    "ks": ks,
    "chi-squared": chi_squared,
    "mann-whitney": mann_whitney,
}


def run(test: ExtraTest, seen: Observations, tests: int) -> ExtraVerdict | None:
    """Runs one declared test; None where what it looks at was not measured.

    Args:
        test: as declared.
        seen: both arms.
        tests: how many share the level.
    """
    if test.test == "sustained":
        return _sustained(test, seen)
    mine = seen.candidate.categories.get(test.of)
    theirs = _other(test, seen)
    if mine is None or theirs is None:
        return None
    known = mine.known & theirs.known & Compared.of(seen).step
    ours, others = (np.cumsum(it.within(known).counts, axis=0) for it in (mine, theirs))
    name = f"{test.test} of {test.of} against {test.against}"
    if test.test == "psi":
        if not ours[-1].sum() or not others[-1].sum():
            return None
        index = psi(ours[-1], others[-1])
        reason = f"{name}: index {index:.3f}, limit {test.limit:g}"
        return ExtraVerdict(name, index, None, test.limit, index > test.limit, test.then, reason)
    looks = _looks(np.minimum(ours.sum(axis=1), others.sum(axis=1)))
    if not looks:
        return None
    results = [_TESTS[test.test](ours[at], others[at]) for at in looks]
    number = _step_number(seen)
    share = test.limit / tests / (number * (number + 1))
    levels = [share / (k * (k + 1)) for k in range(1, len(looks) + 1)]
    hits = [p <= level for (_, p), level in zip(results, levels, strict=True)]
    shown = hits.index(True) if any(hits) else len(hits) - 1
    (statistic, p_value), level = results[shown], levels[shown]
    reason = f"{name}: p {p_value:.2g} at look {shown + 1} (level {level:.2g} of {test.limit:g})"
    return ExtraVerdict(name, statistic, p_value, level, any(hits), test.then, reason)


def _other(test: ExtraTest, seen: Observations) -> Categories | None:
    if test.against == "stable":
        return seen.stable.categories.get(test.of)
    mine = seen.candidate.categories.get(test.of)
    shares = seen.candidate.reference.get(test.of)
    if mine is None or shares is None:
        return None
    # A reference has no size of its own: as many as the candidate's, for a cautious comparison.
    whole = np.nansum(mine.counts, axis=1, keepdims=True)
    return Categories(mine.names, whole * shares)


def _step_number(seen: Observations) -> int:
    """Returns how many different weights have held one after the other."""
    settled = seen.weights[~np.isnan(seen.weights)]
    return 1 + int(np.count_nonzero(np.diff(settled)))


def _looks(smaller: Floats) -> list[int]:
    """Returns the intervals at whose end the smaller sample has first doubled again."""
    looks: list[int] = []
    wanted = float(FIRST_LOOK)
    for at in range(len(smaller)):
        if smaller[at] >= wanted:
            looks.append(at)
            while smaller[at] >= wanted:
                wanted *= 2
    return looks


def _sustained(test: ExtraTest, seen: Observations) -> ExtraVerdict | None:
    """Asks whether the candidate's rate was above the limit in all of the last intervals."""
    counts = seen.candidate.metrics.get(test.of)
    last = round(test.for_seconds / seen.interval_seconds)
    if counts is None or last < 1 or len(counts.total) < last:
        return None
    bad, total = counts.bad[-last:], counts.total[-last:]
    known = counts.known[-last:] & (total > 0)
    if not known.all():
        return None
    least = float((bad / total).min())
    name = f"{test.of} sustained for {test.for_seconds:.0f} s"
    reason = f"{name}: never below {least:.2%} bad, limit {test.limit:.2%}"
    return ExtraVerdict(name, least, None, test.limit, least > test.limit, test.then, reason)
