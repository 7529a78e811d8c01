"""What the tests of the judge share: outcomes counted out, rollouts drawn, verdicts asked for."""

# pyright: basic
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from scipy.stats import binom

from models.judging import Judge
from rollout.judge import Arm, Counts, Observations, Terms, Values, Verdict, judge
from rollout.judge.dispersion import dispersion, excess_spread
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY, RateTerms
from rollout.simulate import Scenario, Streams, simulate

ALPHA = 0.01
BETA = 0.05
START = datetime(2026, 11, 23, 9, tzinfo=UTC)

Pair = tuple[Counts, Counts]


# What chance allows.


def allowed(runs: int, level: float) -> int:
    """Returns the most hits of which the 99% Clopper-Pearson lower limit is at most the level.

    That limit is at most the level exactly if so many hits or more have a probability of at least
    1% at the level: a right judge fails such a test with probability 1% at most, and far less where
    its true share of hits is below the level.
    """
    return int(binom.isf(0.01, runs, level))


def crossed(evidence: np.ndarray, level: float) -> np.ndarray:
    """Marks the rollouts whose evidence ever reached 1 / level."""
    return evidence.max(axis=-1) >= -np.log(level)


def delay(evidence: np.ndarray, level: float) -> np.ndarray:
    """Returns how many intervals each rollout took to reach 1 / level; infinite if it did not."""
    hit = evidence >= -np.log(level)
    return np.where(hit.any(axis=-1), hit.argmax(axis=-1) + 1.0, np.inf)


# All outcomes of a few requests.


def outcomes(sizes: Sequence[tuple[int, int]]) -> Pair:
    """Returns all N outcomes of T intervals with so many requests (stable, candidate) each."""
    ranges = [range(size + 1) for pair in sizes for size in pair]
    bad = np.array(list(itertools.product(*ranges)), dtype=float).reshape(-1, len(sizes), 2)
    total = np.broadcast_to(np.array(sizes, dtype=float), bad.shape)
    return Counts(bad[..., 0], total[..., 0]), Counts(bad[..., 1], total[..., 1])


def probability(counts: Counts, rates: Sequence[float | Sequence[float]]) -> np.ndarray:
    """Returns the probability of each outcome, shape (N,).

    Args:
        counts: shape (N, T).
        rates: per interval, the rate of all requests, or one rate for each of them.
    """
    whole = np.ones(len(counts.bad))
    for at, rate in enumerate(rates):
        size = int(counts.total[0, at])
        each = [rate] * size if isinstance(rate, float | int) else list(rate)
        law = np.ones(1)
        for chance in each:
            law = np.convolve(law, [1 - chance, chance])
        whole = whole * law[counts.bad[:, at].astype(int)]
    return whole


def expectation(
    evidence: Callable[[Counts, Counts], np.ndarray],
    sizes: Sequence[tuple[int, int]],
    rates: Sequence[tuple[float | Sequence[float], float | Sequence[float]]],
) -> float:
    """Returns the expectation of the e-value after the last of some intervals."""
    stable, candidate = outcomes(sizes)
    of_stable, of_candidate = zip(*rates, strict=True)
    weight = probability(stable, of_stable) * probability(candidate, of_candidate)
    return float((weight * np.exp(evidence(stable, candidate)[..., -1])).sum())


# Rollouts drawn.


def drawn(scenario: Scenario, rollouts: int, seed: int, *, harmful: bool = False) -> Iterator[Pair]:
    """Draws rollouts in parts that fit into the processor's cache."""
    for streams in streams_of(scenario, rollouts, seed, harmful=harmful):
        yield streams.stable, streams.candidate


def streams_of(
    scenario: Scenario, rollouts: int, seed: int, *, harmful: bool = False
) -> Iterator[Streams]:
    """Draws the same with the rates that the simulation knows."""
    part = 2000
    for at in range(0, rollouts, part):
        yield simulate(scenario, min(part, rollouts - at), (seed, at), harmful=harmful)


def hits(
    evidence: Callable[[Counts, Counts], np.ndarray],
    scenario: Scenario,
    rollouts: int,
    seed: int,
    level: float,
    *,
    harmful: bool = False,
) -> int:
    """Counts the rollouts in which some evidence ever reaches 1 / level."""
    return sum(
        int(crossed(evidence(*pair), level).sum())
        for pair in drawn(scenario, rollouts, seed, harmful=harmful)
    )


def spread_of(stable: Counts, candidate: Counts) -> np.ndarray:
    """Returns the dispersion so far, between intervals alone."""
    return dispersion(*excess_spread(stable, candidate))


def upto(counts: Counts, look: int) -> Counts:
    """Keeps the first intervals."""
    return Counts(counts.bad[..., :look], counts.total[..., :look])


def pick(counts: Counts, rows) -> Counts:
    """Keeps some rollouts."""
    return Counts(counts.bad[rows], counts.total[rows])


def both_upto(pair: Pair, look: int) -> Pair:
    """Keeps the first intervals of both arms."""
    return upto(pair[0], look), upto(pair[1], look)


def both_pick(pair: Pair, rows) -> Pair:
    """Keeps some rollouts of both arms."""
    return pick(pair[0], rows), pick(pair[1], rows)


def binomial(rng: np.random.Generator, total, rate) -> Counts:
    """Draws how many of so many are bad."""
    total = np.asarray(total, dtype=float)
    return Counts.of(rng.binomial(total.astype(np.int64), rate), total)


def values_of(draws: np.ndarray) -> Values:
    """Returns what is kept of values, given as shape (T, n)."""
    return Values(
        draws.sum(axis=-1),
        (draws**2).sum(axis=-1),
        np.full(draws.shape[:-1], float(draws.shape[-1])),
    )


# Verdicts.


def terms(
    *,
    percent: int = 5,
    evidence: Literal["bake", "margin"] = "bake",
    bake: float = 600.0,
    accuracy: bool = True,
    judge_terms: dict | None = None,
    **others,
) -> Terms:
    """Returns the terms of a rollout like that of the other tests, without a stack file."""
    rates = {ERRORS: RateTerms(0.002, 0.01), LATENCY: RateTerms(0.01, 0.01)}
    if accuracy:
        rates[ACCURACY] = RateTerms(0.01, 0.1)
    given = {"minRequests": 100, "settle": "1m", "interval": "1m", **(judge_terms or {})}
    return Terms(
        percent=percent,
        moved_at=START,
        bake_seconds=bake,
        evidence=evidence,
        judge=Judge.model_validate(given),
        rates=others.pop("rates", rates),
        **others,
    )


def seen(
    *,
    errors: tuple[float, float] = (10, 1),
    slow: tuple[float, float] = (10, 1),
    wrong: tuple[float, float] = (50, 3),
    requests: tuple[float, float] = (1900, 100),
    intervals: int = 20,
    percent: float = 5,
    accuracy: bool = True,
) -> Observations:
    """Returns the same counts in every interval; pairs are (stable, candidate)."""
    bad = {ERRORS: errors, LATENCY: slow} | ({ACCURACY: wrong} if accuracy else {})

    def arm(version: str, index: int) -> Arm:
        total = np.full(intervals, float(requests[index]))
        metrics = {
            name: Counts.of(np.full(intervals, it[index]), total) for name, it in bad.items()
        }
        return Arm(version, metrics, total)

    return Observations(
        start=START,
        interval_seconds=60,
        weights=np.full(intervals, float(percent)),
        declared_now=percent,
        stable=arm("1.4.0", 0),
        candidate=arm("1.5.0", 1),
    )


def one_metric(stable: Counts, candidate: Counts, percent: float) -> Observations:
    """Returns a rollout in which errors are all that is measured."""
    arms = [
        Arm(version, {ERRORS: it}, it.total)
        for version, it in (("1.4.0", stable), ("1.5.0", candidate))
    ]
    return Observations(START, 60, np.full(len(stable.total), percent), percent, arms[0], arms[1])


def with_metric(observed: Observations, arm: str, name: str, counts: Counts) -> Observations:
    """Replaces one metric of `stable` or `candidate`."""
    one: Arm = getattr(observed, arm)
    return with_arm(observed, arm, metrics={**one.metrics, name: counts})


def with_arm(observed: Observations, arm: str, **changes) -> Observations:
    """Replaces something of `stable` or `candidate`."""
    return replace(observed, **{arm: replace(getattr(observed, arm), **changes)})


def decide(observed: Observations, held: Terms | None = None, *, late: float = 0) -> Verdict:
    """Asks for the verdict at the end of the grid, or so many seconds later."""
    held = held or terms(percent=int(observed.declared_now or 0))
    end = observed.time_of(len(observed.weights)) + timedelta(seconds=late)
    return judge(held, observed, end)


def is_finite(verdict: Verdict) -> bool:
    """Whether every number of the metrics can be written down."""
    numbers = [
        number
        for metric in verdict.metrics
        for number in (metric.e_value, metric.margin_e_value, metric.lower, metric.upper)
        if number is not None
    ]
    return all(math.isfinite(number) for number in numbers)
