"""Evidence on counts: exact where it can be counted out, else in ten thousand rollouts."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.judge.e_process import (
    EXTREME,
    MOST_OF_ONE_INTERVAL,
    ceiling_evidence,
    e_value,
    extreme_evidence,
    floor_evidence,
    harm_evidence,
    margin_evidence,
    peak,
)
from rollout.judge.series import Counts
from rollout.peers import wald_two_arms
from rollout.simulate import Bursts, Day, Outages, Scenario
from tests.rollout.judge.arms import (
    ALPHA,
    BETA,
    allowed,
    binomial,
    crossed,
    delay,
    drawn,
    expectation,
    hits,
    pick,
    streams_of,
    upto,
)

GUESS = 0.01
RUNS = 10_000


def harm(margin: float, guess: float = GUESS, **options):
    def evidence(stable: Counts, candidate: Counts) -> np.ndarray:
        return harm_evidence(stable, candidate, margin, guess, ALPHA, **options)

    return evidence


def absence(margin: float, guess: float = GUESS, **options):
    def evidence(stable: Counts, candidate: Counts) -> np.ndarray:
        return margin_evidence(stable, candidate, margin, guess, **options)

    return evidence


def extreme(guess: float = GUESS):
    def evidence(stable: Counts, candidate: Counts) -> np.ndarray:
        return extreme_evidence(stable, candidate, guess)

    return evidence


# Exactness: the expectation over every outcome.

RATES = st.floats(0.0, 1.0)
GUESSES = st.sampled_from([1e-4, 0.01, 0.1, 0.5, 1.0])


def placed(stable: float, margin: float, inside: float, side: int) -> tuple[float, float]:
    """Returns true rates at the border of the null, or moved into it: side 1 has harm beyond."""
    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    stable = low + stable * (high - low)
    at = min(max(stable + margin, 0.0), 1.0)
    return stable, at * (1 - inside) if side > 0 else at + inside * (1 - at)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.integers(0, 8), st.integers(0, 8), st.floats(-0.5, 0.9), RATES, RATES, GUESSES, st.booleans()
)
def test_one_interval_is_an_e_variable_at_and_inside_the_null(
    stable_total, candidate_total, margin, rate, inside, guess, dispersed
):
    sizes = [(stable_total, candidate_total)]
    for evidence, limit, side in (
        (harm(margin, guess, dispersed=dispersed), margin, 1),
        (harm(margin, guess, dispersed=dispersed, late=False), margin, 1),
        (absence(margin, guess, dispersed=dispersed), margin, -1),
        (extreme(guess), EXTREME, 1),
    ):
        for depth in (0.0, inside):
            true = placed(rate, limit, depth, side)
            assert expectation(evidence, sizes, [true]) <= 1 + 1e-6


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.floats(-0.3, 0.5),
    st.lists(RATES, min_size=3, max_size=3),
    st.lists(RATES, min_size=3, max_size=3),
    GUESSES,
    st.booleans(),
)
def test_three_intervals_with_rates_of_their_own_are_an_e_process(
    margin, rates, inside, guess, dispersed
):
    """Every path of three intervals: the bets of a later one depend on what came before."""
    sizes = [(3, 2), (1, 3), (2, 2)]
    for evidence, limit, side in (
        (harm(margin, guess, dispersed=dispersed), margin, 1),
        (absence(margin, guess, dispersed=dispersed), margin, -1),
        (extreme(guess), EXTREME, 1),
    ):
        for depths in ((0.0, 0.0, 0.0), inside):
            true = [placed(*it, side) for it in zip(rates, [limit] * 3, depths, strict=True)]
            for last in (1, 2, 3):
                got = expectation(evidence, sizes[:last], true[:last])
                assert got <= 1 + 1e-6


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(RATES, min_size=1, max_size=6), st.lists(RATES, min_size=1, max_size=6), GUESSES)
def test_the_null_need_hold_only_on_average_over_an_interval(stable, candidate, guess):
    margin = float(np.mean(candidate) - np.mean(stable))
    sizes = [(len(stable), len(candidate))]
    for evidence in (harm(margin, guess), absence(margin, guess)):
        assert expectation(evidence, sizes, [(stable, candidate)]) <= 1 + 1e-6


def _ceiling(limits: np.ndarray, _: Counts, counts: Counts) -> np.ndarray:
    return ceiling_evidence(counts, limits)


def _floor(limits: np.ndarray, _: Counts, counts: Counts) -> np.ndarray:
    return floor_evidence(counts, limits)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.lists(RATES, min_size=2, max_size=4), min_size=1, max_size=3),
    st.floats(0.0, 1.0),
)
def test_evidence_about_one_arm_is_an_e_process_at_and_inside_the_null(rates, inside):
    """Rates differ between requests and intervals; the limit is that of the mean in each."""
    sizes = [(0, len(each)) for each in rates]
    means = np.array([np.mean(each) for each in rates])
    true: list = [(0.0, each) for each in rates]
    for limits in (means, means + inside * (1 - means)):
        e = expectation(partial(_ceiling, limits), sizes, true)
        assert e <= 1 + 1e-6
    for limits in (means, means * (1 - inside)):
        e = expectation(partial(_floor, limits), sizes, true)
        assert e <= 1 + 1e-6


# False reverts, in ten thousand healthy rollouts each; at 1%, 124 of them have a probability
# above 1%.

PLAIN = Scenario(rate=0.01, requests=500, looks=60)
BUSY = replace(PLAIN, requests=5000)
# A day of 60 intervals: first the night, at a rate near 1% of requests, then the day near 50%.
NIGHT_AND_DAY = Scenario(
    rate=0.26,
    requests=2000,
    looks=60,
    percents=(1, 50),
    bake_intervals=30,
    day=Day(60, -0.96, -0.5),
)
HEALTHY = {
    "independent": PLAIN,
    "independent, often bad": replace(PLAIN, rate=0.2),
    "many requests": BUSY,
    "few bad": replace(BUSY, rate=0.0005),
    "half and half": replace(PLAIN, percents=(50,)),
    "shared bursts": replace(BUSY, shared_bursts=Bursts(0.05, 10)),
    "night and day": NIGHT_AND_DAY,
    "outages of both": replace(BUSY, outages=Outages(0.03, intervals=3)),
}


@pytest.mark.parametrize("law", HEALTHY)
def test_healthy_rollouts_are_reverted_at_most_alpha_of_the_time(law):
    false = hits(harm(0.0), HEALTHY[law], RUNS, 1, ALPHA)
    assert false <= allowed(RUNS, ALPHA)


@pytest.mark.parametrize("law", ["independent", "night and day"])
def test_that_holds_also_without_the_check_for_dependence(law):
    false = hits(harm(0.0, dispersed=False), HEALTHY[law], RUNS, 2, ALPHA)
    assert false <= allowed(RUNS, ALPHA)


def test_pooled_over_night_and_day_the_same_rollouts_would_look_harmful():
    """What makes the cell above worth its time: totals alone would condemn almost all of them."""
    stable, candidate = next(drawn(NIGHT_AND_DAY, 200, 1))
    pooled = [
        Counts(c.bad.sum(-1, keepdims=True), c.total.sum(-1, keepdims=True))
        for c in (stable, candidate)
    ]
    once = harm_evidence(pooled[0], pooled[1], 0.0, GUESS, ALPHA, dispersed=False)
    # One interval is cut off at three quarters of what is needed.
    assert (once >= -MOST_OF_ONE_INTERVAL * np.log(ALPHA) - 1).mean() > 0.9


@pytest.mark.parametrize(
    ("scenario", "margin"),
    [
        (replace(PLAIN, harm=3.0), 0.02),
        (replace(BUSY, harm=1.2), 0.002),
        (replace(PLAIN, rate=0.2, harm=1.05, percents=(50,)), 0.01),
    ],
)
def test_a_candidate_at_the_margin_is_healthy(scenario, margin):
    assert scenario.rate * (scenario.harm - 1) == pytest.approx(margin)
    false = hits(harm(margin), scenario, RUNS, 3, ALPHA, harmful=True)
    assert false <= allowed(RUNS, ALPHA)


def test_evidence_of_extreme_harm_keeps_its_level_at_its_border():
    scenario = Scenario(rate=0.05, requests=200, looks=60, harm=3.0)
    false = hits(extreme(), scenario, RUNS, 4, ALPHA / 10, harmful=True)
    assert false <= allowed(RUNS, ALPHA / 10)


@pytest.mark.parametrize(
    ("scenario", "margin"),
    [
        (Scenario(rate=0.02, requests=1000, looks=60, percents=(50,), harm=1.5), 0.01),
        (Scenario(rate=0.01, requests=5000, looks=60, percents=(25,), harm=1.2), 0.002),
        (Scenario(rate=0.2, requests=500, looks=60, percents=(10,), harm=1.25), 0.05),
        (replace(NIGHT_AND_DAY, rate=0.26, day=Day(60, 0.0, -0.5), harm=1.1), 0.026),
    ],
)
def test_a_candidate_at_the_margin_passes_at_most_beta_of_the_time(scenario, margin):
    # At 5%, 551 of 10,000 have a probability above 1%.
    passed = hits(absence(margin, scenario.rate), scenario, RUNS, 5, BETA, harmful=True)
    assert passed <= allowed(RUNS, BETA)


def test_an_equal_candidate_passes_with_enough_requests():
    equal = Scenario(rate=0.02, requests=2000, looks=60, percents=(50,))
    assert hits(absence(0.01, 0.02), equal, 2000, 6, BETA) > 1900


# Detection.


@pytest.mark.parametrize(("requests", "looks"), [(500, 200), (5000, 30)])
def test_harm_is_found_nearly_as_fast_as_by_a_test_that_is_told_both_rates(requests, looks):
    scenario = Scenario(rate=0.01, requests=requests, looks=looks, harm=2.0)
    ours, walds = [], []
    for s in streams_of(scenario, 4000, 7, harmful=True):
        ours.append(delay(harm(0.0)(s.stable, s.candidate), ALPHA))
        told = wald_two_arms(s.stable, s.candidate, s.healthy_rates, s.harmful_rates, ALPHA)
        walds.append(told.reverted_at + 1)  # counted from 0
    assert np.median(np.concatenate(ours)) <= 1.5 * np.median(np.concatenate(walds))


def test_a_handful_of_failures_proves_extreme_harm_but_no_lasting_one():
    stable, candidate = Counts.of([0], [200]), Counts.of([6], [7])
    assert peak(extreme()(stable, candidate)) >= -np.log(ALPHA / 10)
    assert peak(harm(0.0)(stable, candidate)) < -np.log(ALPHA)
    # One interval, however bad, is not enough; two are.
    worst = Counts.of([0, 0], [10**6] * 2), Counts.of([10**6] * 2, [10**6] * 2)
    evidence = harm(0.0)(*worst)
    assert evidence[0] < -np.log(ALPHA) <= evidence[1]


LATE = [(500, 60), (5000, 15)]


@pytest.mark.parametrize(("requests", "soon"), LATE)
def test_harm_that_begins_at_half_time_is_found(requests, soon):
    """Three times the rate, without the check for dependence: nine of ten are found soon."""
    scenario = Scenario(rate=0.01, requests=requests, looks=240, harm=3.0, harm_from=120)
    found = np.concatenate(
        [
            delay(harm(0.0, dispersed=False)(*it), ALPHA)
            for it in drawn(scenario, 1000, 8, harmful=True)
        ]
    )
    # Before harm begins the rollout is healthy.
    assert (found <= 120).sum() <= allowed(1000, ALPHA)
    assert np.quantile(found, 0.9, method="higher") <= 120 + soon


@pytest.mark.parametrize(("requests", "soon"), LATE)
def test_the_check_for_dependence_does_not_hide_harm_that_begins_late(requests, soon):
    scenario = Scenario(rate=0.01, requests=requests, looks=240, harm=3.0, harm_from=120)
    found = np.concatenate(
        [delay(harm(0.0)(*it), ALPHA) for it in drawn(scenario, 1000, 8, harmful=True)]
    )
    assert np.quantile(found, 0.9, method="higher") <= 120 + soon


# Properties.

COUNTS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), RATES, RATES), min_size=1, max_size=12
)


def arms_of(rows) -> tuple[Counts, Counts]:
    n_s, n_c, bad_s, bad_c = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return Counts(np.rint(n_s * bad_s), n_s), Counts(np.rint(n_c * bad_c), n_c)


KINDS = {
    "harm": harm(0.01),
    "harm, independent": harm(0.01, dispersed=False),
    "margin": absence(0.05, 0.1),
    "margin, independent": absence(0.05, 0.1, dispersed=False),
    "extreme": extreme(),
    "ceiling": partial(_ceiling, np.array(0.05)),
    "floor": partial(_floor, np.array(0.05)),
}


UNDISPERSED = [kind for kind in KINDS if kind not in ("harm", "margin")]


@pytest.mark.parametrize("kind", UNDISPERSED)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(COUNTS, st.data())
def test_an_interval_without_requests_changes_nothing(kind, rows, data):
    """Not the product; where harm may begin late, the start's prior is spread a little thinner.

    Nor the dispersion, but that of blocks, of which one then begins elsewhere.
    """
    at = data.draw(st.integers(0, len(rows)))
    evidence = KINDS[kind]
    before = evidence(*arms_of(rows))
    after = evidence(*arms_of([*rows[:at], (0, 0, 0.0, 0.0), *rows[at:]]))
    if kind in ("harm, independent", "extreme"):
        # The j-th start weighs 1 / (j (j - 1)) of 15%; one later, it weighs at least a third.
        assert np.delete(after, at) == pytest.approx(before, abs=np.log(3))
        if at == len(rows):
            assert after[:-1] == pytest.approx(before, abs=1e-9)
    else:
        assert np.delete(after, at) == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_rows(kind):
    scenario = replace(PLAIN, rate=0.05, harm=2.0, own_bursts=Bursts(0.1, 5))
    stable, candidate = next(drawn(scenario, 40, 9, harmful=True))
    together = KINDS[kind](stable, candidate)
    alone = [KINDS[kind](pick(stable, row), pick(candidate, row)) for row in range(40)]
    assert together == pytest.approx(np.array(alone), rel=1e-9, abs=1e-9)


def test_margins_guesses_and_levels_may_differ_from_row_to_row():
    stable, candidate = next(drawn(replace(PLAIN, rate=0.05), 6, 10))
    margins = np.array([-0.1, 0.0, 0.01, 0.05, 0.5, 0.99])
    guesses = np.array([1e-4, 0.01, 0.05, 0.1, 0.5, 1.0])
    alphas = np.array([0.5, 0.1, 0.01, 0.001, 1e-4, 1e-6])
    together = harm_evidence(stable, candidate, margins, guesses, alphas)
    against = margin_evidence(stable, candidate, margins, guesses)
    for row, (margin, guess, alpha) in enumerate(zip(margins, guesses, alphas, strict=True)):
        one = pick(stable, row), pick(candidate, row)
        assert together[row] == pytest.approx(harm_evidence(*one, margin, guess, alpha))
        assert against[row] == pytest.approx(margin_evidence(*one, margin, guess))


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_later_does_not_change_what_was_said(kind):
    stable, candidate = next(drawn(replace(PLAIN, rate=0.05), 20, 11))
    whole = KINDS[kind](stable, candidate)
    for look in (1, 7, 30):
        early = KINDS[kind](upto(stable, look), upto(candidate, look))
        assert whole[:, :look] == pytest.approx(early, rel=1e-9, abs=1e-9)


HUGE = 10.0**9
EXTREME_COUNTS = {
    "nothing": ([0, 0], [0, 0], [0, 0], [0, 0]),
    "none of one arm": ([0, 3], [5, 5], [0, 0], [0, 0]),
    "all bad": ([5, 5], [5, 5], [5, 5], [5, 5]),
    "none bad": ([0, 0], [5, 5], [0, 0], [5, 5]),
    "only the candidate": ([0, 0], [HUGE] * 2, [HUGE] * 2, [HUGE] * 2),
    "only stable": ([HUGE] * 2, [HUGE] * 2, [0, 0], [HUGE] * 2),
    "one against many": ([1, 0], [1, 1], [0, HUGE], [HUGE] * 2),
    "a billion, all bad": ([HUGE] * 2, [HUGE] * 2, [HUGE] * 2, [HUGE] * 2),
}


@pytest.mark.parametrize("case", EXTREME_COUNTS)
@pytest.mark.parametrize("margin", [0.0, 0.002, 0.5, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("guess", [1e-4, 0.01, 1.0])
def test_evidence_is_a_number_whatever_the_counts(case, margin, guess):
    bad_s, n_s, bad_c, n_c = EXTREME_COUNTS[case]
    stable, candidate = Counts.of(bad_s, n_s), Counts.of(bad_c, n_c)
    with np.errstate(all="raise", under="ignore"):
        found = [
            harm(margin, guess)(stable, candidate),
            harm(margin, guess, dispersed=False)(stable, candidate),
            absence(margin, guess)(stable, candidate),
            extreme(guess)(stable, candidate),
            ceiling_evidence(candidate, margin),
            floor_evidence(candidate, margin),
        ]
    for evidence in found:
        assert np.isfinite(evidence).all()
    if case in ("nothing", "none of one arm"):
        assert max(peak(evidence) for evidence in found[:4]) <= 1e-9


def test_evidence_is_a_number_over_a_hundred_thousand_intervals():
    rng = np.random.default_rng(12)
    total = np.full(100_000, 50.0)
    stable, candidate = (binomial(rng, total, 0.05) for _ in range(2))
    for evidence in (harm(0.0)(stable, candidate), absence(0.5)(stable, candidate)):
        assert np.isfinite(evidence).all()
    assert peak(harm(0.0)(stable, candidate)) < -np.log(ALPHA)
    assert np.isfinite(e_value(peak(absence(0.5)(stable, candidate))))


def test_no_interval_at_all_is_no_evidence():
    none = Counts.of([], [])
    assert peak(harm(0.0)(none, none)) == 0.0
    assert peak(absence(0.01)(none, none)) == 0.0


@pytest.mark.parametrize("harmful", [False, True])
def test_merging_neighbouring_intervals_changes_little(harmful):
    """At constant split and rates the grid should not matter; how far it does, by simulation.

    Intervals of 250 requests merged in pairs (10% split, 1% bad, 2% or as much; 60 to 30
    intervals): stakes learn half as often, and starts are half as many. The final log evidence
    moves by less than 0.5 in 95% of rollouts, by less than 1.5 in all of 2,000 (the threshold is
    4.6), and by less than 0.1 on average. The cut-off of single intervals is far away here.
    """
    scenario = Scenario(rate=0.01, requests=250, looks=60, harm=2.0)
    stable, candidate = next(drawn(scenario, 2000, 13, harmful=harmful))
    pairs = [
        Counts(c.bad.reshape(-1, 30, 2).sum(-1), c.total.reshape(-1, 30, 2).sum(-1))
        for c in (stable, candidate)
    ]
    moved = (
        harm(0.0, dispersed=False)(stable, candidate)[:, -1]
        - harm(0.0, dispersed=False)(*pairs)[:, -1]
    )
    assert np.quantile(np.abs(moved), 0.95) < 0.5
    assert np.abs(moved).max() < 1.5
    assert abs(moved.mean()) < 0.1


def test_a_ceiling_of_all_and_a_floor_of_nothing_are_never_refuted():
    counts = Counts.of([5, 0, HUGE], [5, HUGE, HUGE])
    assert peak(ceiling_evidence(counts, 1.0)) <= 1e-6
    assert peak(floor_evidence(counts, 0.0)) <= 1e-6


@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_evidence_about_one_arm_keeps_its_level_and_finds_a_breach(limit):
    rng = np.random.default_rng(14)
    total = np.full((RUNS, 60), 100.0)
    counts = binomial(rng, total, limit)
    assert crossed(ceiling_evidence(counts, limit), ALPHA).sum() <= allowed(RUNS, ALPHA)
    assert crossed(floor_evidence(counts, limit), ALPHA).sum() <= allowed(RUNS, ALPHA)
    few = pick(counts, slice(0, 500))
    assert crossed(ceiling_evidence(few, limit / 3), ALPHA).mean() > 0.99
    assert crossed(floor_evidence(few, limit * 3), ALPHA).mean() > 0.99
