"""Tests by name agree with those that users know, and keep their level over all looks."""

# pyright: basic
from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from models.judging import ExtraTest
from rollout.judge import Categories, Counts
from rollout.judge.extra_tests import FIRST_LOOK, chi_squared, ks, mann_whitney, psi, run
from rollout.judge.terms import ERRORS
from tests.rollout.judge.arms import allowed, seen, with_arm, with_metric

SHARES = np.array([0.4, 0.3, 0.2, 0.1])
LEVEL = 0.05


def declared(kind: str, **fields) -> ExtraTest:
    given = {"test": kind, "of": "age", "limit": LEVEL, **fields}
    return ExtraTest.model_validate(given)


def observed(stable: np.ndarray, candidate: np.ndarray, reference: np.ndarray | None = None):
    """Returns observations of one feature, counts of shape (T, K)."""
    names = tuple(f"c{k}" for k in range(stable.shape[1]))
    whole = seen(intervals=len(stable))
    whole = with_arm(whole, "stable", categories={"age": Categories(names, stable * 1.0)})
    shares = {} if reference is None else {"age": reference}
    counted = {"age": Categories(names, candidate * 1.0)}
    return with_arm(whole, "candidate", categories=counted, reference=shares)


# Against scipy.


def samples(seed: int, shift: int, sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.poisson(6, sizes[0]), rng.poisson(6, sizes[1]) + shift


def bucketed(values: np.ndarray) -> np.ndarray:
    """Every whole number is a bucket of its own."""
    return np.bincount(values, minlength=40).astype(float)


CASES = [(1, 0, (100, 100)), (2, 1, (150, 900)), (3, 0, (2000, 100)), (4, 3, (300, 300))]


@pytest.mark.parametrize("case", CASES)
def test_kolmogorov_smirnov_is_that_of_scipy(case):
    ours, theirs = samples(*case)
    statistic, p_value = ks(bucketed(ours), bucketed(theirs))
    reference: Any = stats.ks_2samp(ours, theirs, method="asymp")
    assert statistic == pytest.approx(reference.statistic)
    size = len(ours) * len(theirs) / (len(ours) + len(theirs))
    assert p_value == pytest.approx(stats.kstwobign.sf(math.sqrt(size) * reference.statistic))
    # scipy's own asymptotics are of a finite size, a little smaller.
    assert reference.pvalue <= p_value + 1e-12 <= 4 * reference.pvalue + 0.05


@pytest.mark.parametrize("case", CASES)
def test_chi_squared_is_that_of_scipy(case):
    ours, theirs = (bucketed(it) for it in samples(*case))
    some = (ours + theirs) > 0
    reference: Any = stats.chi2_contingency(np.array([ours[some], theirs[some]]), correction=False)
    statistic, p_value = chi_squared(ours, theirs)
    assert (statistic, p_value) == pytest.approx((reference.statistic, reference.pvalue))


@pytest.mark.parametrize("case", CASES)
def test_mann_whitney_is_that_of_scipy(case):
    ours, theirs = samples(*case)
    reference: Any = stats.mannwhitneyu(ours, theirs, method="asymptotic")
    statistic, p_value = mann_whitney(bucketed(ours), bucketed(theirs))
    assert statistic == pytest.approx(reference.statistic)
    assert p_value == pytest.approx(reference.pvalue, rel=1e-6)
    turned = mann_whitney(bucketed(theirs), bucketed(ours))
    assert turned[1] == pytest.approx(p_value)


def test_the_index_psi_is_that_of_its_formula():
    ours, theirs = np.array([50.0, 30.0, 20.0]), np.array([400.0, 400.0, 200.0])
    p, q = (
        (50.5 / 101.5, 30.5 / 101.5, 20.5 / 101.5),
        (400.5 / 1001.5, 400.5 / 1001.5, 200.5 / 1001.5),
    )
    by_hand = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert psi(ours, theirs) == pytest.approx(by_hand)
    assert psi(ours, ours) == 0.0
    assert math.isfinite(psi(np.array([0.0, 10.0]), np.array([10.0, 0.0])))


def test_one_bucket_or_one_value_everywhere_is_no_difference():
    only, more = np.array([0.0, 500.0, 0.0]), np.array([0.0, 100.0, 0.0])
    assert ks(only, more) == (0.0, 1.0)
    assert chi_squared(only, more) == (0.0, 1.0)
    assert mann_whitney(only, more)[1] == 1.0


# Looks.


def test_it_looks_when_the_smaller_sample_has_doubled_and_shares_the_level():
    """60 values an interval: looks at 120, 240, 420, 840 (each the first at or over a doubling)."""
    rng = np.random.default_rng(5)
    stable, candidate = rng.multinomial(500, SHARES, 14), rng.multinomial(60, SHARES, 14)
    looks = [120, 240, 420, 840]
    assert looks[0] >= FIRST_LOOK
    for tests in (1, 3):
        for k, values in enumerate(looks, 1):
            upto = values // 60
            verdict = run(declared("chi-squared"), observed(stable[:upto], candidate[:upto]), tests)
            assert verdict is not None
            # The first step has half of the level.
            assert verdict.level == pytest.approx(LEVEL / 2 / tests / (k * (k + 1)))
            pooled = candidate[:upto].sum(axis=0) * 1.0, stable[:upto].sum(axis=0) * 1.0
            assert verdict.p_value == pytest.approx(chi_squared(*pooled)[1])
    assert run(declared("chi-squared"), observed(stable[:1], candidate[:1]), 1) is None
    # The levels of all looks add up to the whole.
    assert sum(1 / (k * (k + 1)) for k in range(1, 100_000)) == pytest.approx(1, abs=1e-4)


def test_a_later_step_looks_at_itself_alone_with_a_smaller_part_of_the_level():
    rng = np.random.default_rng(10)
    early = rng.multinomial(500, SHARES[::-1], 10), rng.multinomial(60, SHARES, 10)
    late = rng.multinomial(500, SHARES, 2), rng.multinomial(60, SHARES, 2)
    both = observed(np.r_[early[0], late[0]], np.r_[early[1], late[1]])
    both = replace(both, weights=np.r_[np.full(10, 1.0), np.full(2, 5.0)])
    verdict = run(declared("chi-squared"), both, 1)
    assert verdict is not None
    # The first look of the second step.
    assert verdict.level == pytest.approx(LEVEL / (2 * 3) / 2)
    pooled = late[1].sum(axis=0) * 1.0, late[0].sum(axis=0) * 1.0
    assert verdict.p_value == pytest.approx(chi_squared(*pooled)[1])
    assert not verdict.found


def test_what_was_found_at_an_earlier_look_stays_found():
    early, late = np.array([[10, 110]]), np.full((40, 2), 60)
    stable = np.full((41, 2), 600)
    verdict = run(declared("chi-squared"), observed(stable, np.r_[early, late]), 1)
    assert verdict is not None
    assert verdict.found
    assert verdict.level == pytest.approx(LEVEL / 2 / 2)


def test_the_sentence_names_the_look_that_its_p_value_is_of():
    early, late = np.array([[10, 110]]), np.full((40, 2), 60)
    verdict = run(declared("chi-squared"), observed(np.full((41, 2), 600), np.r_[early, late]), 1)
    assert verdict is not None
    assert " at look 1 " in verdict.reason


@pytest.mark.parametrize("kind", ["ks", "chi-squared", "mann-whitney"])
def test_equal_arms_are_found_different_at_most_at_the_level_over_all_looks(kind):
    """2,000 rollouts, four looks each; 123 at a level of 5% have a probability above 1%."""
    rng = np.random.default_rng(6)
    runs = 2000
    false = 0
    for _ in range(runs):
        stable, candidate = rng.multinomial(450, SHARES, 20), rng.multinomial(50, SHARES, 20)
        verdict = run(declared(kind), observed(stable, candidate), 1)
        assert verdict is not None
        false += verdict.found
    assert false <= allowed(runs, LEVEL)


@pytest.mark.parametrize("kind", ["ks", "chi-squared", "mann-whitney"])
def test_a_day_with_a_changing_split_is_no_difference(kind):
    rng = np.random.default_rng(7)
    shares = np.where(np.arange(40)[:, None] < 20, SHARES, SHARES[::-1])
    false = 0
    for _ in range(200):
        n_c = rng.binomial(1000, np.where(np.arange(40) < 20, 0.01, 0.5))
        stable, candidate = rng.multinomial(1000 - n_c, shares), rng.multinomial(n_c, shares)
        weights = np.where(np.arange(40) < 20, 1.0, 50.0)
        both = replace(observed(stable, candidate), weights=weights, declared_now=50)
        verdict = run(declared(kind), both, 1)
        assert verdict is not None
        false += verdict.found
    assert false <= allowed(200, LEVEL)


@pytest.mark.parametrize("kind", ["ks", "chi-squared", "mann-whitney"])
def test_a_difference_is_found(kind):
    rng = np.random.default_rng(8)
    stable, candidate = rng.multinomial(450, SHARES, 20), rng.multinomial(50, SHARES[::-1], 20)
    verdict = run(declared(kind, then="hold"), observed(stable, candidate), 3)
    assert verdict is not None
    assert verdict.found
    assert verdict.then == "hold"


@pytest.mark.parametrize("kind", ["ks", "chi-squared", "mann-whitney", "psi"])
def test_against_a_reference_the_shares_of_the_training_data_count(kind):
    rng = np.random.default_rng(9)
    stable = rng.multinomial(450, SHARES, 20)
    for true, found in ((SHARES, False), (SHARES[::-1], True)):
        candidate = rng.multinomial(50, true, 20)
        limit = 0.25 if kind == "psi" else LEVEL
        asked = declared(kind, against="reference", limit=limit)
        verdict = run(asked, observed(stable, candidate, SHARES), 1)
        assert verdict is not None
        assert verdict.found == found
        assert run(asked, observed(stable, candidate), 1) is None


def test_an_index_has_no_level_and_is_held_against_its_limit():
    stable, candidate = np.array([[400, 400, 200]]), np.array([[50, 30, 20]])
    index = psi(candidate[0] * 1.0, stable[0] * 1.0)
    for limit, found in ((index * 0.99, True), (index * 1.01, False)):
        verdict = run(declared("psi", limit=limit), observed(stable, candidate), 1)
        assert verdict is not None
        assert (verdict.found, verdict.p_value) == (found, None)
        assert verdict.statistic == pytest.approx(index)


def test_what_was_not_counted_is_not_tested():
    stable, candidate = np.full((5, 2), 100.0), np.full((5, 2), 100.0)
    whole = observed(stable, candidate)
    assert run(declared("ks", of="height"), whole, 1) is None
    blind = observed(np.full((5, 2), np.nan), candidate)
    for kind in ("ks", "chi-squared", "mann-whitney", "psi"):
        assert run(declared(kind), blind, 1) is None
    # Where one scrape is missing the others count.
    stable[2], candidate[2] = np.nan, [0, 10_000]
    verdict = run(declared("chi-squared"), observed(stable, candidate), 1)
    assert verdict is not None
    assert not verdict.found


# Sustained.


def rates(candidate_bad: list[float], total: float = 100.0):
    n = len(candidate_bad)
    counts = Counts.of(candidate_bad, np.full(n, total))
    return with_metric(seen(intervals=n), "candidate", ERRORS, counts)


def sustained(**fields) -> ExtraTest:
    return declared("sustained", **{"of": ERRORS, "limit": 0.05, "for": "3m", **fields})


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ([0, 0, 6, 6, 6], True),
        ([6, 6, 6, 6, 0], False),
        ([6, 6, 0, 6, 6], False),
        ([5, 5, 5], False),
        ([100, 100, 5], False),
        ([100, 100, 6], True),
    ],
)
def test_sustained_means_above_the_limit_in_every_one_of_the_last_intervals(bad, found):
    verdict = run(sustained(), rates(bad), 1)
    assert verdict is not None
    assert verdict.found == found
    assert verdict.p_value is None
    assert verdict.statistic == pytest.approx(min(bad[-3:]) / 100)


def test_sustained_is_silent_where_it_can_not_know():
    assert run(sustained(), rates([9, 9]), 1) is None
    assert run(sustained(), rates([9, np.nan, 9]), 1) is None
    assert run(sustained(), rates([0, 0, 0], total=0.0), 1) is None
    assert run(sustained(of="unknown"), rates([9, 9, 9]), 1) is None
    assert run(sustained(**{"for": "10s"}), rates([9, 9, 9]), 1) is None
