"""Distances between distributions: proved only beyond the tolerance, and bounded on both sides."""

# pyright: basic
from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import multinomial

from rollout.judge.bounds import difference_bounds
from rollout.judge.categories import (
    distance,
    distance_bounds,
    reference_bounds,
    reference_evidence,
    stable_evidence,
)
from rollout.judge.series import Categories, Counts
from rollout.simulate import simulate_categories
from tests.rollout.judge.arms import ALPHA, BETA, allowed, crossed

SHARES = np.array([0.4, 0.3, 0.2, 0.1])
NAMES = tuple("abcd")


def named(counts: np.ndarray) -> Categories:
    return Categories(tuple(f"c{k}" for k in range(counts.shape[-1])), counts.astype(float))


def both(
    moved: float, *, requests=500, percent=10.0, looks=40, rollouts=300, seed=1, shares=SHARES
):
    """Yields (stable, candidate) whose distance is exactly what was moved."""
    drawn = simulate_categories(
        shares, moved, requests=requests, percent=percent, looks=looks, rollouts=rollouts, seed=seed
    )
    for stable, candidate in zip(*drawn, strict=True):
        yield named(stable), named(candidate)


def test_the_distance_is_the_largest_difference_that_a_set_of_categories_shows():
    rng = np.random.default_rng(1)
    for _ in range(20):
        ours = rng.multinomial(200, SHARES).astype(np.float64)
        theirs = rng.multinomial(300, SHARES[::-1]).astype(np.float64)
        sets = itertools.product([0, 1], repeat=4)
        largest = max(np.dot(s, ours) / 200 - np.dot(s, theirs) / 300 for s in sets)
        assert distance(ours, theirs) == pytest.approx(largest)
    assert distance(np.array([3, 0]), np.array([0, 5])) == 1.0
    assert distance(np.array([0, 0]), np.array([1, 1])) == 0.0


@pytest.mark.parametrize("moved", [0.0, 0.1])
@pytest.mark.parametrize("percent", [5.0, 50.0])
def test_a_distance_of_the_tolerance_is_not_found_more_often_than_alpha(moved, percent):
    found = [stable_evidence(s, c, moved, BETA) for s, c in both(moved, percent=percent)]
    # At 5%, 24 of 300 have a probability above 1%.
    assert crossed(np.array(found), BETA).sum() <= allowed(300, BETA)


def test_a_day_that_changes_what_both_are_asked_is_no_distance():
    """And a split that changes with it: pooled over the day, the arms would differ a lot."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        shares = np.where(np.arange(40)[:, None] < 20, SHARES, SHARES[::-1])
        n_c = rng.binomial(500, np.where(np.arange(40) < 20, 0.01, 0.5))
        stable, candidate = rng.multinomial(500 - n_c, shares), rng.multinomial(n_c, shares)
        assert distance(stable.sum(axis=0), candidate.sum(axis=0)) > 0.1
        found.append(stable_evidence(named(stable), named(candidate), 0.0, BETA))
    assert crossed(np.array(found), BETA).sum() <= allowed(300, BETA)


def test_more_than_the_tolerance_is_found():
    found = [stable_evidence(s, c, 0.05, ALPHA) for s, c in both(0.2, requests=2000, rollouts=50)]
    assert crossed(np.array(found), ALPHA).mean() > 0.95


def test_evidence_against_a_reference_keeps_its_level_and_finds_more():
    rng = np.random.default_rng(3)
    moved = np.array([0.3, 0.3, 0.2, 0.2])
    drawn = [named(rng.multinomial(200, moved, 40)) for _ in range(300)]
    at_border = np.array([reference_evidence(it, SHARES, 0.1) for it in drawn])
    assert crossed(at_border, BETA).sum() <= allowed(300, BETA)
    beyond = np.array([reference_evidence(it, SHARES, 0.04) for it in drawn])
    assert crossed(beyond, ALPHA).mean() > 0.95


@pytest.mark.parametrize(
    ("true", "tolerance"),
    [
        ((0.5, 0.3, 0.2), 0.0),
        ((0.4, 0.3, 0.3), 0.1),
        ((0.6, 0.3, 0.1), 0.1),
        ((0.3, 0.7, 0.0), 0.4),
        ((0.0, 0.0, 1.0), 0.8),
    ],
)
def test_evidence_against_a_reference_is_an_e_process_by_count(true, tolerance):
    """Every course of three intervals of two requests over three categories, 6^3 of them."""
    reference = np.array([0.5, 0.3, 0.2])
    courses = np.array([it for it in itertools.product(range(3), repeat=3) if sum(it) == 2])
    law = multinomial.pmf(courses, 2, true)
    expected = sum(
        law[list(path)].prod()
        * np.exp(reference_evidence(named(courses[list(path)]), reference, tolerance)[-1])
        for path in itertools.product(range(len(courses)), repeat=3)
    )
    assert expected <= 1 + 1e-6


def test_a_rare_category_that_never_occurs_is_within_the_tolerance():
    rng = np.random.default_rng(4)
    reference = np.array([0.475, 0.475, 0.05])
    counts = named(rng.multinomial(500, [0.5, 0.5, 0.0], 60))
    assert distance(counts.counts.sum(axis=0), reference) < 0.06
    assert not crossed(reference_evidence(counts, reference, 0.1), ALPHA)


LOOKS = (2, 5, 15, 40)


def upto(categories: Categories, look: int) -> Categories:
    return Categories(categories.names, categories.counts[:look])


@pytest.mark.parametrize(
    ("moved", "percent", "requests", "shares"),
    [
        (0.0, 10.0, 500, SHARES),
        (0.1, 10.0, 500, SHARES),
        (0.3, 50.0, 200, SHARES),
        # Two categories: nothing is added up, so a miss is nearer.
        (0.2, 50.0, 500, np.array([0.6, 0.4])),
    ],
)
def test_bounds_of_a_distance_miss_it_at_no_look_in_most_rollouts(moved, percent, requests, shares):
    runs = 100
    low = high = 0
    arms = both(moved, requests=requests, percent=percent, rollouts=runs, shares=shares)
    for stable, candidate in arms:
        found = [distance_bounds(upto(stable, n), upto(candidate, n), BETA) for n in LOOKS]
        low += any(lower > moved + 1e-4 for lower, _ in found)
        high += any(upper < moved - 1e-4 for _, upper in found)
    # At 5%, 11 of 100 have a probability above 1%.
    assert low <= allowed(runs, BETA)
    assert high <= allowed(runs, BETA)


def test_bounds_of_a_distance_hold_with_a_few_requests_an_interval():
    runs = 250
    shares = np.array([0.99, 0.01])
    low = 0
    for stable, candidate in both(
        0.5, requests=100, percent=5.0, looks=4, rollouts=runs, shares=shares
    ):
        found = [distance_bounds(upto(stable, n), upto(candidate, n), 0.001) for n in (2, 3, 4)]
        low += any(lower > 0.5 + 1e-4 for lower, _ in found)
    assert low <= allowed(runs, 0.001)


def test_bounds_against_a_reference_miss_it_at_no_look_in_most_rollouts():
    rng = np.random.default_rng(5)
    runs = 200
    for moved in (0.0, 0.1):
        true = SHARES + np.array([-moved, 0, 0, moved])
        low = high = 0
        for _ in range(runs):
            counts = named(rng.multinomial(200, true, 40))
            found = [reference_bounds(upto(counts, n), SHARES, BETA) for n in LOOKS]
            low += any(lower > moved + 1e-9 for lower, _ in found)
            high += any(upper < moved - 1e-9 for _, upper in found)
        assert low <= allowed(runs, BETA)
        assert high <= allowed(runs, BETA)


def test_of_two_categories_the_distance_is_one_difference_and_bounded_no_tighter():
    stable, candidate = next(both(0.2, requests=500, shares=np.array([0.6, 0.4])))
    first = [Counts(it.counts[:, 0], it.counts.sum(axis=1)) for it in (stable, candidate)]
    low, high = difference_bounds(first[0], first[1], 0.5, BETA / 2)
    _, upper = distance_bounds(stable, candidate, BETA)
    assert max(abs(low), abs(high)) - 1e-3 <= upper < 2 * max(abs(low), abs(high))


def test_bounds_shrink_and_prove_a_large_distance():
    stable, candidate = next(both(0.2, requests=20_000, percent=20.0))
    found = [distance_bounds(upto(stable, n), upto(candidate, n), ALPHA) for n in LOOKS]
    widths = [upper - lower for lower, upper in found]
    assert sorted(widths, reverse=True) == widths
    assert 0.15 < found[-1][0] < 0.2 < found[-1][1] < 0.3
    against = [reference_bounds(upto(candidate, n), SHARES, ALPHA) for n in LOOKS]
    assert 0.15 < against[-1][0] < 0.2 < against[-1][1] < 0.25


def test_nothing_and_next_to_nothing_give_numbers():
    empty = named(np.zeros((5, 3)))
    once = named(np.eye(5, 3))
    huge = named(np.full((5, 3), 1e9))
    reference = np.array([1.0, 0.0, 0.0])
    for mine, theirs in itertools.product((empty, once, huge), repeat=2):
        with np.errstate(all="raise", under="ignore"):
            evidence = stable_evidence(theirs, mine, 0.0, ALPHA)
            lower, upper = distance_bounds(theirs, mine, ALPHA)
        assert np.isfinite(evidence).all()
        assert 0 <= lower <= upper <= 1
    for counts in (empty, once, huge):
        with np.errstate(all="raise", under="ignore"):
            evidence = reference_evidence(counts, reference, 0.0)
            lower, upper = reference_bounds(counts, reference, ALPHA)
        assert np.isfinite(evidence).all()
        assert 0 <= lower <= upper <= 1
    assert reference_evidence(empty, reference, 0.0).max() <= 0
    assert stable_evidence(huge, huge, 0.0, ALPHA).max() <= 0


def test_the_order_of_the_categories_does_not_matter():
    stable, candidate = next(both(0.2, requests=2000, rollouts=1))
    order = [2, 0, 3, 1]
    other, mine = (named(it.counts[:, order]) for it in (stable, candidate))
    plain = stable_evidence(stable, candidate, 0.05, ALPHA)
    assert stable_evidence(other, mine, 0.05, ALPHA) == pytest.approx(plain)
    bounds = distance_bounds(stable, candidate, ALPHA)
    assert distance_bounds(other, mine, ALPHA) == pytest.approx(bounds)
    shares = reference_evidence(candidate, SHARES, 0.05)
    assert reference_evidence(mine, SHARES[order], 0.05) == pytest.approx(shares)
