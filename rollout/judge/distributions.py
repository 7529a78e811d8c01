"""Predictions and features: between the versions, and against the training data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.judging import PredictionTolerance, Tolerance
from rollout.judge import categories
from rollout.judge.compare import PREDICTIONS, alpha_of_each
from rollout.judge.e_process import e_value, peak
from rollout.judge.series import Categories, Compared, Floats, Observations, usable
from rollout.judge.terms import Terms
from rollout.judge.verdict import DriftVerdict


def distributions(terms: Terms, seen: Observations, which: Compared) -> tuple[DriftVerdict, ...]:
    """Compares predictions and features between the versions and with the training data."""
    comparisons = [
        *_between_arms(terms, seen, which),
        *_with_reference(terms, seen, which),
    ]
    alpha = terms.judge.alpha / max(len(comparisons), 1)
    reverts = alpha_of_each(terms, seen)
    return tuple(it.verdict(reverts if it.then == "revert" else alpha) for it in comparisons)


@dataclass(frozen=True)
class _Comparison:
    """Two distributions to compare, on the intervals that count."""

    name: str
    version: str
    mine: Categories
    other: Categories | Floats
    held: Tolerance | PredictionTolerance

    @property
    def then(self) -> str:
        return self.held.then

    def verdict(self, alpha: float) -> DriftVerdict:
        tolerance = self.held.tolerance
        whole = self.mine.counts.sum(axis=0)
        if isinstance(self.other, Categories):
            evidence = categories.stable_evidence(self.other, self.mine, tolerance, alpha)
            bounds = categories.distance_bounds(self.other, self.mine, alpha)
            distance = categories.distance(whole, self.other.counts.sum(axis=0))
            against = "stable"
        else:
            evidence = categories.reference_evidence(self.mine, self.other, tolerance)
            bounds = categories.reference_bounds(self.mine, self.other, alpha)
            distance = categories.distance(whole, self.other)
            against = "reference"
        return DriftVerdict(
            name=self.name,
            version=self.version,
            against=against,
            distance=distance,
            lower=bounds[0],
            upper=bounds[1],
            tolerance=tolerance,
            e_value=e_value(peak(evidence)),
            alpha=alpha,
            drifted=peak(evidence) >= -math.log(alpha),
            then=self.held.then,
        )


def _between_arms(terms: Terms, seen: Observations, which: Compared) -> list[_Comparison]:
    found: list[_Comparison] = []
    for name, mine in seen.candidate.categories.items():
        both = categories.aligned(mine, seen.stable.categories.get(name))
        if both is None:
            continue
        mask = usable(both, which.settled)
        held = terms.drift.predictions if name == PREDICTIONS else terms.drift.features
        held = held.model_copy(update={"tolerance": terms.tolerances.get(name, held.tolerance)})
        ours, theirs = (it.within(mask) for it in both)
        found.append(_Comparison(name, seen.candidate.version, ours, theirs, held))
    return found


def _with_reference(terms: Terms, seen: Observations, which: Compared) -> list[_Comparison]:
    return [
        _Comparison(
            name,
            arm.version,
            arm.categories[name].within(usable([arm.categories[name]], which.settled)),
            shares,
            terms.drift.reference,
        )
        for arm in (seen.stable, seen.candidate)
        for name, shares in arm.reference.items()
        if name in arm.categories
        and len(shares) == len(arm.categories[name].names)
        and shares.sum() > 0
    ]
