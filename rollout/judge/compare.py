"""Each metric put to its tests: rates, quantities, the latency's quantile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollout.judge.bounds import difference_bounds, mean_bounds, quantile_bounds, ratio_bounds
from rollout.judge.categories import aligned
from rollout.judge.dispersion import dispersion, excess_spread, long_dispersion, pod_spread
from rollout.judge.e_process import (
    EXTREME,
    ceiling_evidence,
    e_value,
    extreme_evidence,
    floor_evidence,
    harm_evidence,
    margin_evidence,
    peak,
)
from rollout.judge.means import mean_harm_evidence, mean_margin_evidence
from rollout.judge.series import Compared, Counts, Floats, Mask, Observations, Values, usable
from rollout.judge.terms import ACCURACY, ERRORS, RateTerms, Terms
from rollout.judge.verdict import MetricVerdict, Quantile, Shown

EXTREME_PART = 0.1
"""Part of alpha that goes to the proof of extreme harm."""

CEILING_PART = 0.1
"""Part of alpha that goes to breaches of the SLO by the candidate alone."""

METRICS_PART = 1 - EXTREME_PART - CEILING_PART
"""Part of alpha that goes to the metrics' own tests."""

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Rates:
    """All shares of bad answers that both versions have, a row each.

    Attributes:
        names: M of them.
        stable: counts on the intervals that count, shape (M, T).
        candidate: the same.
        step: marks the intervals of the present step, shape (M, T).
    """

    names: tuple[str, ...]
    stable: Counts
    candidate: Counts
    step: Mask

    @classmethod
    def of(cls, terms: Terms, seen: Observations, which: Compared) -> Rates:
        """Stacks them."""
        names = tuple(name for name in terms.rates if _both_have(seen, name))
        known = {name: usable(_arms(seen, name), np.ones_like(which.step)) for name in names}
        shape = (len(names), len(seen.weights))
        settled = [known[name] & _counting(seen, name, which.settled) for name in names]
        step = [known[name] & _counting(seen, name, which.step) for name in names]
        mask = np.array(settled, dtype=bool).reshape(shape)
        stable, candidate = (
            Counts(
                np.array([arm.metrics[name].bad for name in names]).reshape(shape),
                np.array([arm.metrics[name].total for name in names]).reshape(shape),
            ).within(mask)
            for arm in (seen.stable, seen.candidate)
        )
        return cls(names, stable, candidate, np.array(step, dtype=bool).reshape(shape))

    def row(self, name: str) -> tuple[Counts, Counts]:
        """Returns stable's and the candidate's counts of one metric, shape (T,)."""
        at = self.names.index(name)
        return self.stable.row(at), self.candidate.row(at)

    @property
    def present(self) -> slice:
        """The columns from the begin of the present step on."""
        return slice(int(np.argmax(self.step.any(axis=0))) if self.step.size else 0, None)

    def at_step(self) -> tuple[Counts, Counts]:
        """Returns stable's and the candidate's counts at the present step, shape (M, T')."""
        columns = self.present
        stable, candidate = (
            Counts(arm.bad[:, columns], arm.total[:, columns]).within(self.step[:, columns])
            for arm in (self.stable, self.candidate)
        )
        return stable, candidate


def reverting(terms: Terms, seen: Observations) -> tuple[str, ...]:
    """Names all that may revert and that is measured: they share alpha."""
    rates = [name for name in terms.rates if _both_have(seen, name)]
    values = [name for name in terms.values if _both_have(seen, name)]
    drift = [PREDICTIONS] if _predictions_revert(terms, seen) else []
    return (*rates, *values, *drift)


def alpha_of_each(terms: Terms, seen: Observations, part: float = METRICS_PART) -> float:
    """Returns each metric's share of a part of alpha, by default of that for their own tests."""
    return terms.judge.alpha * part / max(len(reverting(terms, seen)), 1)


def metrics(
    terms: Terms, seen: Observations, which: Compared, rates: Rates
) -> tuple[MetricVerdict, ...]:
    """Compares both versions in every metric they have."""
    alpha = alpha_of_each(terms, seen)
    return (
        *(_rates(terms, seen, which, rates, alpha) if rates.names else ()),
        *(
            _quantity(terms, seen, which, name, alpha)
            for name in terms.values
            if _both_have(seen, name)
        ),
    )


def extreme_harm(terms: Terms, seen: Observations, which: Compared) -> float:
    """Returns the log e-value of extreme harm, over its level's threshold: above 0 is proved.

    Requests that got no answer within an interval after their own count as failed.
    """
    if not _both_have(seen, ERRORS):
        return -math.inf
    needed = -math.log(terms.judge.alpha * EXTREME_PART)
    stable, candidate = (
        _with_hanging(arm.metrics[ERRORS], arm.routed) for arm in (seen.stable, seen.candidate)
    )
    mask = usable([stable, candidate], which.settled)
    # A failure brings at most 1 / EXTREME, and only where so many fail does it bring anything.
    failed = candidate.bad[mask & (candidate.bad > EXTREME * candidate.total)].sum()
    if failed * -math.log(EXTREME) < needed:
        return -math.inf
    guess = terms.rates[ERRORS].guess
    evidence = extreme_evidence(stable.within(mask), candidate.within(mask), guess)
    return peak(evidence) - needed


def ratio_at_least(terms: Terms, seen: Observations, rates: Rates, name: str) -> float | None:
    """Returns how many times stable's rate the candidate's is at least; None where not above 1."""
    if name not in rates.names:
        return None
    stable, candidate = rates.row(name)
    lower, _ = ratio_bounds(stable, candidate, terms.rates[name].guess, alpha_of_each(terms, seen))
    return lower if lower > 1 else None


def over_ceiling(terms: Terms, seen: Observations, rates: Rates) -> list[tuple[str, bool]]:
    """Returns the metrics in which the candidate breaches the SLO, and whether it does so alone.

    Alone means that in the same intervals stable is shown to be within it, and that the candidate
    is shown to be worse: after an outage of both, neither is.
    """
    if not rates.names:
        return []
    stable, candidate = rates.at_step()
    limits = [terms.rates[name].ceiling for name in rates.names]
    ceilings = np.array([[1.0 if limit is None else limit] for limit in limits])
    # As long as the share so far is not above the ceiling, nothing speaks against it.
    above = np.cumsum(candidate.bad, axis=-1) > ceilings * np.cumsum(candidate.total, axis=-1)
    needed = -math.log(alpha_of_each(terms, seen, CEILING_PART))
    found: list[tuple[str, bool]] = []
    for row in map(int, np.flatnonzero(above.any(axis=-1))):
        pair = stable.row(row), candidate.row(row)
        name = rates.names[row]
        if peak(ceiling_evidence(pair[1], float(ceilings[row, 0]))) >= needed:
            found.append((name, _by_itself(pair, terms.rates[name], needed)))
    return found


def quantiles(terms: Terms, seen: Observations, which: Compared) -> tuple[Quantile, ...]:
    """Bounds the quantile that the latency SLO speaks of, for each version."""
    found: list[Quantile] = []
    for arm in (seen.stable, seen.candidate):
        if arm.buckets is None or terms.latency_share is None:
            continue
        counts = np.where(which.settled[:, None], arm.buckets.counts, np.nan)
        buckets = type(arm.buckets)(arm.buckets.edges_ms, counts)
        lower, upper = quantile_bounds(buckets, terms.latency_share, terms.judge.alpha)
        found.append(
            Quantile(arm.version, terms.latency_share, lower, upper if upper < math.inf else None)
        )
    return tuple(found)


def _rates(
    terms: Terms, seen: Observations, which: Compared, rates: Rates, alpha: float
) -> list[MetricVerdict]:
    """Compares all shares of bad answers at once."""
    names, stable, candidate = rates.names, rates.stable, rates.candidate
    margins = np.array([terms.rates[name].margin for name in names])
    guesses = np.array([terms.rates[name].guess for name in names])
    alphas = np.full(len(names), alpha)
    spread = _spread(seen, names, (stable, candidate), which)
    harm = harm_evidence(stable, candidate, margins, guesses, alphas, spread=spread)
    stable_now, candidate_now = rates.at_step()
    against = margin_evidence(stable_now, candidate_now, margins, guesses, dispersed=False)
    lower, upper = difference_bounds(stable, candidate, guesses, alphas, spread[:, -1])
    verdicts: list[MetricVerdict] = []
    for row, name in enumerate(names):
        verdicts.append(
            _verdict(
                terms,
                name,
                (Shown.of(stable.row(row)), Shown.of(candidate.row(row))),
                (float(lower[row]), float(upper[row])),
                # All that is known of the dispersion by now counts for the earlier looks, too.
                (peak(harm[row]), peak(against[row]) / float(spread[row, -1])),
                margin=float(margins[row]),
                alpha=alpha,
                dispersion=float(spread[row, -1]),
                step_total=min(int(arm.total[row].sum()) for arm in (stable_now, candidate_now)),
            )
        )
    return verdicts


def _quantity(
    terms: Terms, seen: Observations, which: Compared, name: str, alpha: float
) -> MetricVerdict:
    held = terms.values[name]
    arms = seen.stable.values[name], seen.candidate.values[name]
    stable, candidate = (arm.within(usable(arms, which.settled)) for arm in arms)
    at_step = [arm.within(usable(arms, which.step)) for arm in arms]
    harm = mean_harm_evidence(stable, candidate, held.margin, held.direction, alpha)
    against = mean_margin_evidence(at_step[0], at_step[1], held.margin, held.direction)
    return _verdict(
        terms,
        name,
        (_mean(stable), _mean(candidate)),
        mean_bounds(stable, candidate, alpha),
        (peak(harm), peak(against)),
        margin=held.margin,
        alpha=alpha,
        dispersion=1.0,
        step_total=min(int(arm.count.sum()) for arm in at_step),
    )


def _verdict(
    terms: Terms,
    name: str,
    shown: tuple[Shown, Shown],
    bounds: tuple[float, float],
    log_e: tuple[float, float],
    *,
    margin: float,
    alpha: float,
    dispersion: float,
    step_total: int,
) -> MetricVerdict:
    return MetricVerdict(
        name=name,
        stable=shown[0],
        candidate=shown[1],
        difference=shown[1].minus(shown[0]),
        lower=bounds[0] if math.isfinite(bounds[0]) else None,
        upper=bounds[1] if math.isfinite(bounds[1]) else None,
        e_value=e_value(log_e[0]),
        margin=margin,
        margin_e_value=e_value(log_e[1]),
        alpha=alpha,
        dispersion=dispersion,
        harmful=log_e[0] >= -math.log(alpha),
        ruled_out=log_e[1] >= -math.log(terms.judge.beta),
        step_total=step_total,
    )


def _spread(
    seen: Observations, names: Sequence[str], arms: Sequence[Counts], which: Compared
) -> Floats:
    """Returns each metric's dispersion, between intervals and, where known, between pods."""
    parts = excess_spread(*arms)
    for row, name in enumerate(names):
        for arm in (seen.stable, seen.candidate):
            if name in arm.pods:
                for whole, part in zip(
                    parts, pod_spread(arm.pods[name].within(which.settled)), strict=True
                ):
                    whole[row] += part
    return np.maximum(dispersion(*parts), long_dispersion(*arms))


def _predictions_revert(terms: Terms, seen: Observations) -> bool:
    mine = seen.candidate.categories.get(PREDICTIONS)
    theirs = seen.stable.categories.get(PREDICTIONS)
    comparable = mine is not None and aligned(mine, theirs) is not None
    return terms.drift.predictions.then == "revert" and comparable


def _both_have(seen: Observations, name: str) -> bool:
    return all(name in arm.metrics or name in arm.values for arm in (seen.stable, seen.candidate))


def _arms(seen: Observations, name: str) -> tuple[Counts, Counts]:
    return seen.stable.metrics[name], seen.candidate.metrics[name]


def _counting(seen: Observations, name: str, mask: Mask) -> Mask:
    """Marks where a metric counts.

    A label says how right an answer was, whenever it was given, so labels count also while a
    change of weight settles.
    """
    if name == ACCURACY and mask.any():
        return mask | (_since(mask) & np.isnan(seen.weights))
    return mask


def _since(mask: Mask) -> Mask:
    """Marks everything from the first marked interval on."""
    return np.cumsum(mask) > 0


def _with_hanging(counts: Counts, routed: Floats) -> Counts:
    """Adds requests that had no answer at the end of the interval after their own."""
    known = counts.known & np.isfinite(routed)
    sent = np.cumsum(np.where(known, routed, 0.0))
    answered = np.cumsum(np.where(known, counts.total, 0.0))
    open_still = np.maximum(sent - np.append(answered[1:], np.inf), 0.0)
    hanging = np.diff(np.maximum.accumulate(open_still), prepend=0.0)
    return Counts(counts.bad + hanging, counts.total + hanging)


def _by_itself(pair: tuple[Counts, Counts], rate: RateTerms, needed: float) -> bool:
    """Whether stable is shown to keep the SLO, and the candidate to be worse than stable."""
    stable, candidate = pair
    within = floor_evidence(stable, rate.ceiling or 0.0)[-1]
    worse = harm_evidence(stable, candidate, 0.0, rate.guess, math.exp(-needed))
    return bool(within >= needed and peak(worse) >= needed)


def _mean(values: Values) -> Shown:
    count = int(values.count.sum())
    return Shown(float(values.sum.sum()) / count if count else None, count)
