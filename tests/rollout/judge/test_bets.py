"""Bets never win on average where the null holds, and mixtures are what they say."""

# pyright: basic
from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.judge.bets import (
    START_MASS,
    from_any_interval,
    from_the_start,
    log_factors,
    predicted_rate,
)
from rollout.judge.series import Counts
from tests.rollout.judge.arms import expectation, outcomes, probability

SLOPES = st.sampled_from([0.25, 0.5, 1.0, 1.7, 3.0])
MARGINS = st.floats(-0.4, 0.6)
RATES = st.floats(0.0, 1.0)
SHIFTS = st.floats(0.0, 1.0)


def bet(stable_rate: float, candidate_rate: float, margin: float, slope: float):
    def evidence(stable: Counts, candidate: Counts) -> np.ndarray:
        rates = np.full((1, 1), stable_rate), np.full((1, 1), candidate_rate)
        return log_factors(stable, candidate, *rates, margin=margin, slope=slope).sum(axis=-2)

    return evidence


def border(rate: float, margin: float, slope: float) -> float:
    return slope * rate + margin


def sides(margin: float, slope: float, rate: float, shown: float, inside: float):
    """Yields (side, guessed candidate rate, true rates) of a bet on harm and one on its absence.

    The true rates are at the border of the null, moved into it by a part of the way.
    """
    low, high = max(0.0, -margin / slope), min(1.0, (1 - margin) / slope)
    rate = low + rate * (high - low)
    at = border(rate, margin, slope)
    for harm in (True, False):
        true = at * (1 - inside) if harm else at + inside * (1 - at)
        edge = border(rate, margin, slope)
        guessed = edge + shown * (1 - edge) if harm else edge * (1 - shown)
        yield 1 if harm else -1, guessed, rate, min(max(true, 0.0), 1.0)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 7), st.integers(0, 7), MARGINS, SLOPES, RATES, SHIFTS, SHIFTS, RATES)
def test_a_bet_has_an_expectation_of_at_most_1_at_and_inside_the_border(
    stable_total, candidate_total, margin, slope, rate, shown, inside, stable_guess
):
    for side, guessed, true_stable, true_candidate in sides(margin, slope, rate, shown, inside):
        # The bet is made for other rates of stable than the true ones, too.
        for expected in (true_stable, stable_guess):
            if side * (guessed - border(expected, margin, slope)) < 0:
                continue  # a bet on the other side
            evidence = bet(expected, guessed, margin, slope)
            sizes = [(stable_total, candidate_total)]
            assert expectation(evidence, sizes, [(true_stable, true_candidate)]) <= 1 + 1e-6


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(RATES, min_size=1, max_size=6),
    st.lists(RATES, min_size=1, max_size=6),
    st.sampled_from([0.5, 1.0, 2.0]),
    SHIFTS,
    RATES,
)
def test_requests_of_one_interval_may_have_rates_of_their_own(
    stable_rates, candidate_rates, slope, shown, stable_guess
):
    """The null holds on average over the interval: that is what sets the margin here."""
    margin = float(np.mean(candidate_rates) - slope * np.mean(stable_rates))
    sizes = [(len(stable_rates), len(candidate_rates))]
    edge = border(stable_guess, margin, slope)
    for guessed in (edge + shown * (1 - edge), edge * (1 - shown)):
        evidence = bet(stable_guess, guessed, margin, slope)
        assert expectation(evidence, sizes, [(stable_rates, candidate_rates)]) <= 1 + 1e-6


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(RATES, min_size=1, max_size=8),
    st.lists(RATES, min_size=1, max_size=8),
    MARGINS,
    SLOPES,
    RATES,
    RATES,
)
def test_shares_per_unit_never_earn_more_than_their_own_product_of_bets(
    of_stable, of_candidate, margin, slope, stable_guess, candidate_guess
):
    """A unit (a pod, a user) counts as a share; the bet on one is linear in it.

    With u and v what a bad and a good unit multiply the stake by, the product over units is
    prod(v + y (u - v)); the ratio u / v is read off what one more bad unit changes.
    """
    sizes = len(of_stable), len(of_candidate)
    evidence = bet(stable_guess, candidate_guess, margin, slope)

    def earned(bad_stable: float, bad_candidate: float) -> float:
        arms = Counts.of([bad_stable], [sizes[0]]), Counts.of([bad_candidate], [sizes[1]])
        return float(evidence(*arms)[0])

    nothing = earned(0, 0)
    ratios = math.exp(earned(1, 0) - nothing), math.exp(earned(0, 1) - nothing)
    product = nothing + sum(
        math.log(1 + share * (ratio - 1))
        for shares, ratio in zip((of_stable, of_candidate), ratios, strict=True)
        for share in shares
    )
    assert earned(sum(of_stable), sum(of_candidate)) <= product + 1e-7


def test_shares_per_unit_have_an_expectation_of_at_most_1():
    """Units of three kinds: 0, half or all of their requests are bad; all 9^4 outcomes of four."""
    kinds, chances = np.array([0.0, 0.5, 1.0]), np.array([0.7, 0.2, 0.1])  # a mean of 0.2
    drawn = np.array(list(itertools.product(range(3), repeat=6)))
    weight = chances[drawn].prod(axis=1)
    total = np.full((len(drawn), 1), 3.0)
    stable = Counts(kinds[drawn[:, :3]].sum(axis=1, keepdims=True), total)
    candidate = Counts(kinds[drawn[:, 3:]].sum(axis=1, keepdims=True), total)
    for guess in ((0.2, 0.4), (0.2, 0.9), (0.2, 0.1), (0.05, 0.1)):
        e_value = np.exp(bet(*guess, 0.0, 1.0)(stable, candidate))[:, 0]
        assert (weight * e_value).sum() <= 1 + 1e-9


def test_a_bet_for_the_true_rates_grows_as_fast_as_the_divergence_allows():
    """The growth that the projection promises: the mean log of the bet, against Wald's."""
    rates, sizes = (0.1, 0.3), (6, 6)
    stable, candidate = outcomes([sizes])
    weight = probability(stable, [rates[0]]) * probability(candidate, [rates[1]])
    grown = (weight * bet(*rates, 0.0, 1.0)(stable, candidate)[:, 0]).sum()

    def divergence(rate: float, other: float) -> float:
        return rate * math.log(rate / other) + (1 - rate) * math.log((1 - rate) / (1 - other))

    best = 6 * (divergence(0.1, 0.2) + divergence(0.3, 0.2))
    assert 0.9 * best <= grown <= best + 1e-9


def test_an_arm_without_requests_earns_nothing():
    for sizes in ((0, 5), (5, 0), (0, 0)):
        stable, candidate = outcomes([sizes])
        assert (bet(0.1, 0.5, 0.0, 1.0)(stable, candidate) == 0).all()


@pytest.mark.parametrize("margin", [-1.0, -0.999, 0.0, 0.999, 1.0])
@pytest.mark.parametrize("slope", [0.01, 1.0, 100.0])
def test_extreme_borders_give_finite_logs(margin, slope):
    stable, candidate = Counts.of([0, 5, 0, 5], [5] * 4), Counts.of([0, 0, 5, 5], [5] * 4)
    for one, other in itertools.product((0.0, 1e-9, 0.5, 1.0), repeat=2):
        assert np.isfinite(bet(one, other, margin, slope)(stable, candidate)).all()


def test_a_rate_is_predicted_from_what_came_before():
    counts = Counts.of([[5, 0, 9]], [[10, 0, 10]])
    changed = Counts.of([[5, 0, 0]], [[10, 0, 99]])
    first = predicted_rate(counts, 0.1)
    assert first[0] == pytest.approx([0.1, 7 / 30, 7 / 30])
    assert np.array_equal(first, predicted_rate(changed, 0.1))  # the present one is not used


def mixture(factors: np.ndarray, weights: np.ndarray, starts: list[float]) -> np.ndarray:
    """The definition, term by term; what is not begun yet is worth its mass."""
    bets, looks = factors.shape
    value = np.zeros(looks)
    for look in range(looks):
        value[look] = 1 - sum(starts[: look + 1])
        for at in range(look + 1):
            for k in range(bets):
                value[look] += starts[at] * weights[k] * math.exp(factors[k, at : look + 1].sum())
    return np.log(value)


def test_mixtures_are_those_of_their_definition():
    rng = np.random.default_rng(4)
    factors = rng.normal(0, 1.5, (3, 12))
    weights = np.array([0.2, 0.3, 0.5])
    late = [START_MASS, *((1 - START_MASS) / (j * (j - 1)) for j in range(2, 13))]
    any_time = mixture(factors, weights, late)
    assert from_any_interval(factors.copy(), np.log(weights)) == pytest.approx(any_time)
    at_once = mixture(factors, weights, [1.0] + [0.0] * 11)
    assert from_the_start(factors.copy(), np.log(weights)) == pytest.approx(at_once)


def test_rows_of_a_batch_do_not_touch_each_other_even_when_some_bets_are_ruined():
    """Bets that lose thousands take another way through the sum; no warnings, no other numbers."""
    rng = np.random.default_rng(5)
    factors = rng.normal(0, 1, (4, 3, 30))
    factors[1] -= 300.0
    factors[2, :, 10] = -2000.0
    factors[3, :, 10] = 900.0
    weights = np.log(np.full(3, 1 / 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = from_any_interval(factors.copy(), weights)
        alone = np.array([from_any_interval(row.copy(), weights) for row in factors])
    assert together == pytest.approx(alone, rel=1e-9, abs=1e-9)
    # After a loss a later start goes on: never under the mass of what has not begun.
    assert (together >= np.log((1 - START_MASS) / 30) - 1e-9).all()
