"""Seeded streams of simulated rollouts with known rates, many at once, to measure judges on.

A scenario is a law: how often requests fail, how many there are, how they are split, what harm the
candidate does, and which dependence there is between requests. `simulate` draws rollouts from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollout.judge.series import Counts, Floats, Mask

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class Bursts:
    """Times at which the rate is a multiple of the usual one.

    Attributes:
        chance: probability that one begins, per interval.
        factor: of the rate while it lasts.
        intervals: how long it lasts.
    """

    chance: float
    factor: float
    intervals: int = 1

    @property
    def mean_factor(self) -> float:
        """The factor of the rate on average over time."""
        return 1 + (self.factor - 1) * (1 - (1 - self.chance) ** self.intervals)


@dataclass(frozen=True)
class Outages:
    """Times at which both arms fail at one and the same rate, whatever harm there is.

    Attributes:
        chance: probability that one begins, per interval.
        rate: of both arms while it lasts.
        intervals: how long it lasts.
    """

    chance: float
    rate: float = 0.3
    intervals: int = 1


@dataclass(frozen=True)
class Day:
    """A cycle of traffic and of the rate: both are highest a quarter of the period after the start.

    Attributes:
        period_intervals: length of a day.
        rate_swing: the rate goes up and down by this share of its mean.
        traffic_swing: the same of the requests per interval.
    """

    period_intervals: int
    rate_swing: float = 0.0
    traffic_swing: float = 0.0


@dataclass(frozen=True)
class Users:
    """A population in which each user stays with one arm and fails at a rate of their own.

    Attributes:
        count: how many users there are.
        exponent: the i-th user sends requests in proportion to i ** -exponent.
        icc: correlation of failures of one user: their rates are beta distributed.
    """

    count: int
    exponent: float
    icc: float


@dataclass(frozen=True)
class Scenario:
    """The law of a rollout.

    Attributes:
        rate: stable's share of bad answers, on average over a day, without bursts and outages.
        requests: of both arms together, per interval, on average over a day.
        looks: number of intervals.
        percents: the candidate's percentage at each step.
        bake_intervals: length of a step; the last one lasts to the end.
        harm: a harmful candidate's rate as a multiple of stable's.
        harm_from: the interval in which harm begins, 0-based.
        day: cycle of rate and traffic.
        shared_bursts: hit both arms at the same time.
        own_bursts: hit each arm at its own times, with the same law.
        outages: hit both arms at the same time.
        icc: correlation of requests of one arm in one interval: each arm's rate in each interval
            is drawn from a beta distribution.
        users: if given, users stay with one arm; else every request is assigned by itself.
    """

    rate: float
    requests: int
    looks: int
    percents: tuple[float, ...] = (10.0,)
    bake_intervals: int = 1
    harm: float = 2.0
    harm_from: int = 0
    day: Day | None = None
    shared_bursts: Bursts | None = None
    own_bursts: Bursts | None = None
    outages: Outages | None = None
    icc: float = 0.0
    users: Users | None = None


@dataclass(frozen=True)
class Streams:
    """Simulated rollouts: R of them with T intervals each.

    Attributes:
        stable: counts, shape (R, T).
        candidate: counts, shape (R, T).
        weights: shape (T,): the candidate's percentage.
        healthy_rates: shape (R, T): stable's mean rate, known to the simulation only. What hits
            both arms is in it; what each arm draws for itself is averaged.
        harmful_rates: shape (R, T): the same of a candidate that does the scenario's harm, also
            where these rollouts are healthy.
    """

    stable: Counts
    candidate: Counts
    weights: Floats
    healthy_rates: Floats
    harmful_rates: Floats

    def first(self, rollouts: int) -> Streams:
        """Keeps the first rollouts."""
        return Streams(
            Counts(self.stable.bad[:rollouts], self.stable.total[:rollouts]),
            Counts(self.candidate.bad[:rollouts], self.candidate.total[:rollouts]),
            self.weights,
            self.healthy_rates[:rollouts],
            self.harmful_rates[:rollouts],
        )


@dataclass(frozen=True)
class Sums:
    """What is kept of a business metric, per interval, shape (R, T) each.

    Attributes:
        sum: of the values.
        sum_squares: of their squares.
        count: how many values there are.
    """

    sum: Floats
    sum_squares: Floats
    count: Floats


def latency_scenario(requests: int, looks: int) -> Scenario:
    """The share of slow requests goes from 1% to 2%."""
    return Scenario(rate=0.01, requests=requests, looks=looks, harm=2.0)


def accuracy_scenario(wrong_after: float, labels: int, looks: int) -> Scenario:
    """The share of wrong predictions goes from 20% to `wrong_after`."""
    return Scenario(rate=0.2, requests=labels, looks=looks, harm=wrong_after / 0.2)


def weights_of(scenario: Scenario) -> Floats:
    """Returns the candidate's percentage in each interval."""
    steps = np.arange(scenario.looks) // scenario.bake_intervals
    return np.array(scenario.percents, dtype=float)[np.minimum(steps, len(scenario.percents) - 1)]


def simulate(scenario: Scenario, rollouts: int, seed: Seed, *, harmful: bool) -> Streams:
    """Draws rollouts; the same arguments give the same numbers.

    Args:
        scenario: the law.
        rollouts: how many.
        seed: one number or several.
        harmful: whether the candidate does the scenario's harm.
    """
    rng = np.random.default_rng(seed)
    healthy, harmed = _mean_rates(rng, scenario, rollouts)
    share = np.broadcast_to(weights_of(scenario) / 100, healthy.shape)
    arms = [healthy, harmed if harmful else healthy]
    if scenario.users:
        share, stable_factor, candidate_factor = _sticky(rng, scenario, scenario.users, rollouts)
        arms = [arms[0] * stable_factor, arms[1] * candidate_factor]
    own_factor = 1.0
    if scenario.own_bursts:
        own_factor = scenario.own_bursts.mean_factor
        arms = [_burst(rng, rates, scenario.own_bursts) for rates in arms]
    arms = [np.minimum(rates, 1.0) for rates in arms]
    if scenario.icc:
        arms = [_beta(rng, rates, scenario.icc) for rates in arms]
    to_candidate = rng.binomial(_requests_of(scenario), share)
    to_stable = _requests_of(scenario) - to_candidate
    return Streams(
        stable=Counts.of(rng.binomial(to_stable, arms[0]), to_stable),
        candidate=Counts.of(rng.binomial(to_candidate, arms[1]), to_candidate),
        weights=weights_of(scenario),
        healthy_rates=np.minimum(healthy * own_factor, 1.0),
        harmful_rates=np.minimum(harmed * own_factor, 1.0),
    )


def simulate_categories(
    shares: Floats,
    total_variation: float,
    *,
    requests: int,
    percent: float,
    looks: int,
    rollouts: int,
    seed: Seed,
) -> tuple[Floats, Floats]:
    """Draws how often each category was predicted, by stable and by the candidate.

    Args:
        shares: shape (K,): of stable; the largest is at least `total_variation`.
        total_variation: distance of the candidate's shares: moved from the largest to the smallest.
        requests: of both arms together, per interval.
        percent: the candidate's.
        looks: number of intervals.
        rollouts: how many.
        seed: one number or several.

    Returns:
        shape (R, T, K) each.
    """
    rng = np.random.default_rng(seed)
    moved = shares.copy()
    moved[np.argmax(shares)] -= total_variation
    moved[np.argmin(shares)] += total_variation
    to_candidate = rng.binomial(requests, percent / 100, (rollouts, looks))
    stable = rng.multinomial(requests - to_candidate, shares)
    return stable.astype(float), rng.multinomial(to_candidate, moved).astype(float)


def simulate_means(
    mean: float,
    deviation: float,
    lift: float,
    *,
    requests: int,
    percent: float,
    looks: int,
    rollouts: int,
    seed: Seed,
) -> tuple[Sums, Sums]:
    """Draws sums of a normal business metric, of stable and of the candidate.

    Args:
        mean: of stable's values.
        deviation: standard deviation of the values of both.
        lift: the candidate's mean minus stable's.
        requests: of both arms together, per interval.
        percent: the candidate's.
        looks: number of intervals.
        rollouts: how many.
        seed: one number or several.
    """
    rng = np.random.default_rng(seed)
    to_candidate = rng.binomial(requests, percent / 100, (rollouts, looks))
    stable = _normal_sums(rng, mean, deviation, requests - to_candidate)
    return stable, _normal_sums(rng, mean + lift, deviation, to_candidate)


def _requests_of(scenario: Scenario) -> np.ndarray:
    """Returns the requests of both arms together, shape (T,)."""
    swing = scenario.day.traffic_swing if scenario.day else 0.0
    return np.rint(scenario.requests * _cycle(scenario, swing)).astype(np.int64)


def _cycle(scenario: Scenario, swing: float) -> Floats:
    """Returns a factor around 1 per interval, shape (T,)."""
    if scenario.day is None:
        return np.ones(scenario.looks)
    return 1 + swing * np.sin(2 * np.pi * np.arange(scenario.looks) / scenario.day.period_intervals)


def _mean_rates(
    rng: np.random.Generator, scenario: Scenario, rollouts: int
) -> tuple[Floats, Floats]:
    """Returns the rates of a healthy and of a harmful candidate, with all that arms share."""
    swing = scenario.day.rate_swing if scenario.day else 0.0
    healthy = np.tile(scenario.rate * _cycle(scenario, swing), (rollouts, 1))
    if scenario.shared_bursts:
        healthy = _burst(rng, healthy, scenario.shared_bursts)
    harmed = healthy.copy()
    harmed[:, scenario.harm_from :] *= scenario.harm
    if scenario.outages:
        out = _lasting(rng, healthy.shape, scenario.outages.chance, scenario.outages.intervals)
        healthy = np.where(out, scenario.outages.rate, healthy)
        harmed = np.where(out, scenario.outages.rate, harmed)
    return np.minimum(healthy, 1.0), np.minimum(harmed, 1.0)


def _burst(rng: np.random.Generator, rates: Floats, bursts: Bursts) -> Floats:
    hit = _lasting(rng, rates.shape, bursts.chance, bursts.intervals)
    return np.where(hit, rates * bursts.factor, rates)


def _lasting(
    rng: np.random.Generator, shape: tuple[int, ...], chance: float, intervals: int
) -> Mask:
    """Marks intervals in which something is going on; it may have begun before the rollout."""
    rollouts, looks = shape
    begins = rng.random((rollouts, looks + intervals - 1)) < chance
    begun = np.cumsum(begins, axis=1)
    begun = np.concatenate([np.zeros((rollouts, 1), dtype=begun.dtype), begun], axis=1)
    return begun[:, intervals:] > begun[:, :-intervals]


def _beta(rng: np.random.Generator, means: Floats, icc: float) -> Floats:
    """Draws rates around means; two requests with one rate then have the given correlation."""
    inner = np.clip(means, 1e-12, 1 - 1e-12)
    size = (1 - icc) / icc
    return rng.beta(inner * size, (1 - inner) * size)


def _sticky(
    rng: np.random.Generator, scenario: Scenario, users: Users, rollouts: int
) -> tuple[Floats, Floats, Floats]:
    """Returns the candidate's share of requests and each arm's factor of the rate, (R, T) each.

    Each request is from a user drawn by activity, so given who is in which arm, an arm's requests
    fail independently at the mean rate of its users: no user has to be drawn. Who is in the
    candidate's arm at a low percentage stays there at a higher one.
    """
    activity = np.arange(1, users.count + 1, dtype=float) ** -users.exponent
    activity /= activity.sum()
    place = rng.random((rollouts, users.count))
    rates = _beta(rng, np.full_like(place, scenario.rate), users.icc) / scenario.rate
    whole = rates @ activity
    percents = weights_of(scenario)
    share, stable, candidate = (np.ones((rollouts, scenario.looks)) for _ in range(3))
    for percent in np.unique(percents):
        mine = place < percent / 100
        part, bad = mine @ activity, (mine * rates) @ activity
        at = percents == percent
        share[:, at] = part[:, None]
        candidate[:, at] = np.divide(bad, part, out=np.ones(rollouts), where=part > 0)[:, None]
        stable[:, at] = np.divide(whole - bad, 1 - part, out=np.ones(rollouts), where=part < 1)[
            :, None
        ]
    return np.clip(share, 0.0, 1.0), stable, candidate


def _normal_sums(
    rng: np.random.Generator, mean: float, deviation: float, count: np.ndarray
) -> Sums:
    """Draws what is kept of `count` normal values, without the values."""
    total = rng.normal(mean * count, deviation * np.sqrt(count))
    spread = np.where(count > 1, rng.chisquare(np.maximum(count - 1, 1)), 0.0)
    squares = total**2 / np.maximum(count, 1) + deviation**2 * spread
    return Sums(total, squares, count.astype(float))
