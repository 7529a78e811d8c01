"""Simulated rollouts have the laws that they declare."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from rollout.simulate import (
    Bursts,
    Day,
    Outages,
    Scenario,
    Streams,
    Users,
    accuracy_scenario,
    latency_scenario,
    simulate,
    simulate_categories,
    simulate_means,
    weights_of,
)

PLAIN = Scenario(rate=0.01, requests=500, looks=60)
ROLLOUTS = 400
LAWS = {
    "plain": PLAIN,
    "steps and a day": replace(
        PLAIN, percents=(1, 5, 25, 50), bake_intervals=15, day=Day(60, 0.7, 0.5)
    ),
    "shared bursts": replace(PLAIN, shared_bursts=Bursts(0.05, 10)),
    "own bursts": replace(PLAIN, own_bursts=Bursts(0.05, 10, intervals=5)),
    "outages": replace(PLAIN, outages=Outages(0.03, intervals=3)),
    "icc": replace(PLAIN, icc=0.02),
    "users": replace(PLAIN, users=Users(300, 0.5, 0.02)),
}


def drawn(scenario: Scenario, *, harmful: bool = False, seed: int = 3) -> Streams:
    return simulate(scenario, ROLLOUTS, seed, harmful=harmful)


def share(counts) -> float:
    return counts.bad.sum() / counts.total.sum()


@pytest.mark.parametrize("law", LAWS)
def test_counts_are_possible_and_add_up_to_the_requests(law):
    streams = drawn(LAWS[law])
    for arm in (streams.stable, streams.candidate):
        assert arm.bad.shape == arm.total.shape == (ROLLOUTS, 60)
        assert arm.known.all()
    both = streams.stable.total + streams.candidate.total
    assert (both == both[0]).all()
    assert both.mean() == pytest.approx(500, rel=0.01)


@pytest.mark.parametrize("law", LAWS)
def test_healthy_arms_have_the_rate_that_is_told(law):
    streams = drawn(LAWS[law])
    for arm in (streams.stable, streams.candidate):
        told = (streams.healthy_rates * arm.total).sum() / arm.total.sum()
        assert share(arm) == pytest.approx(told, rel=0.12)


@pytest.mark.parametrize("law", [law for law in LAWS if law != "users"])
def test_a_harmful_candidate_has_the_rate_that_is_told_and_stable_has_not(law):
    streams = drawn(LAWS[law], harmful=True)
    arm = streams.candidate
    told = (streams.harmful_rates * arm.total).sum() / arm.total.sum()
    assert share(arm) == pytest.approx(told, rel=0.12)
    at_stable = (streams.healthy_rates * streams.stable.total).sum() / streams.stable.total.sum()
    assert share(streams.stable) == pytest.approx(at_stable, rel=0.12)


def p_value_of_one_law(one: np.ndarray, other: np.ndarray) -> float:
    result: Any = ks_2samp(one, other)
    return result.pvalue


@pytest.mark.parametrize("law", LAWS)
def test_healthy_arms_of_one_size_share_one_law(law):
    scenario = replace(LAWS[law], percents=(50,))
    streams = drawn(scenario)
    assert p_value_of_one_law(streams.stable.bad[:, 30], streams.candidate.bad[:, 30]) > 0.001
    totals = [arm.bad.sum(axis=1) for arm in (streams.stable, streams.candidate)]
    assert p_value_of_one_law(*totals) > 0.001


@pytest.mark.parametrize("law", LAWS)
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(law):
    one, same, other = (drawn(LAWS[law], seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.stable.bad, same.stable.bad)
    assert np.array_equal(one.candidate.bad, same.candidate.bad)
    assert not np.array_equal(one.stable.bad, other.stable.bad)


def test_plain_counts_are_binomial():
    streams = simulate(PLAIN, 2000, (1, 2), harmful=False)
    total, bad = streams.candidate.total, streams.candidate.bad
    assert total.mean() == pytest.approx(50, rel=0.01)
    assert total.var() == pytest.approx(500 * 0.1 * 0.9, rel=0.02)
    assert bad.var() == pytest.approx(500 * 0.001 * 0.999, rel=0.02)


def test_weights_go_through_the_steps():
    weights = weights_of(LAWS["steps and a day"])
    assert [weights[at] for at in (0, 14, 15, 30, 45, 59)] == [1, 1, 5, 25, 50, 50]


def test_a_day_moves_rate_and_traffic():
    streams = drawn(LAWS["steps and a day"])
    assert streams.healthy_rates[0, 15] == pytest.approx(0.017)
    assert streams.healthy_rates[0, 45] == pytest.approx(0.003)
    both = (streams.stable.total + streams.candidate.total)[0]
    assert (both[15], both[45]) == (750, 250)


def test_harm_may_begin_late():
    streams = drawn(replace(PLAIN, harm=3, harm_from=30), harmful=True)
    bad, total = streams.candidate.bad, streams.candidate.total
    assert bad[:, :30].sum() / total[:, :30].sum() == pytest.approx(0.01, rel=0.05)
    assert bad[:, 30:].sum() / total[:, 30:].sum() == pytest.approx(0.03, rel=0.05)
    assert (streams.harmful_rates[:, :30] == streams.healthy_rates[:, :30]).all()


def test_bursts_last_and_are_as_frequent_as_declared():
    bursts = Bursts(0.02, 10, intervals=5)
    streams = drawn(replace(PLAIN, shared_bursts=bursts))
    hit = streams.healthy_rates > 0.05
    assert hit.mean() == pytest.approx(1 - 0.98**5, rel=0.1)
    assert streams.healthy_rates.mean() == pytest.approx(0.01 * bursts.mean_factor, rel=0.1)
    # An interval is the first of a burst if one begins in it and none did in the 5 before.
    begins = hit[:, 1:] & ~hit[:, :-1]
    assert begins.sum() / hit.sum() == pytest.approx(0.02 * 0.98**5 / (1 - 0.98**5), rel=0.15)


def correlation_of_arms(streams: Streams) -> float:
    rates = [arm.bad / np.maximum(arm.total, 1) for arm in (streams.stable, streams.candidate)]
    return float(np.corrcoef(rates[0].ravel(), rates[1].ravel())[0, 1])


def test_shared_bursts_hit_both_arms_at_once_and_own_bursts_do_not():
    even = replace(PLAIN, requests=5000, percents=(50,))
    assert correlation_of_arms(drawn(replace(even, shared_bursts=Bursts(0.05, 10)))) > 0.9
    assert abs(correlation_of_arms(drawn(replace(even, own_bursts=Bursts(0.05, 10))))) < 0.03


def test_in_an_outage_both_arms_fail_alike_also_with_harm():
    streams = drawn(LAWS["outages"], harmful=True)
    out = streams.healthy_rates == 0.3
    assert 0.05 < out.mean() < 0.12
    assert (streams.harmful_rates[out] == 0.3).all()


@pytest.mark.parametrize("icc", [0.005, 0.02])
def test_requests_of_an_interval_are_correlated_as_declared(icc):
    scenario = replace(PLAIN, rate=0.05, percents=(50,), requests=2000, icc=icc)
    streams = simulate(scenario, 500, 11, harmful=False)
    rates = streams.candidate.bad / streams.candidate.total
    # Var = p (1 - p) (icc + (1 - icc) / n)
    found = (rates.var() / (0.05 * 0.95) - 1 / 1000) / (1 - 1 / 1000)
    assert found == pytest.approx(icc, rel=0.1)


def test_sticky_users_make_the_arms_differ_for_good_but_not_on_average():
    users = Users(300, 0.5, 0.1)
    streams = drawn(replace(PLAIN, requests=5000, users=users))
    halves = [
        streams.candidate.bad[:, part].sum(axis=1) / streams.candidate.total[:, part].sum(axis=1)
        for part in (slice(0, 30), slice(30, 60))
    ]
    assert np.corrcoef(*halves)[0, 1] > 0.9
    assert np.mean(halves) == pytest.approx(0.01, rel=0.1)
    plain = drawn(replace(PLAIN, requests=5000))
    usual = (plain.candidate.bad.sum(axis=1) / plain.candidate.total.sum(axis=1)).std()
    assert halves[0].std() > 5 * usual


def test_more_percent_adds_users_and_takes_none_away():
    scenario = replace(PLAIN, percents=(5, 50), bake_intervals=30, users=Users(300, 0.5, 0.1))
    streams = drawn(scenario)
    small, large = (
        streams.candidate.total[:, part].mean(axis=1) for part in (slice(0, 30), slice(30, 60))
    )
    assert (large > small).all()
    assert small.mean() == pytest.approx(25, rel=0.1)


def test_presets_have_the_rates_of_their_names():
    latency, accuracy = latency_scenario(500, 60), accuracy_scenario(0.25, 50, 60)
    assert latency.rate * latency.harm == pytest.approx(0.02)
    assert (accuracy.rate, accuracy.rate * accuracy.harm) == pytest.approx((0.2, 0.25))


def test_the_first_rollouts_are_kept():
    streams = drawn(PLAIN)
    few = streams.first(7)
    assert np.array_equal(few.candidate.bad, streams.candidate.bad[:7])
    assert few.healthy_rates.shape == few.harmful_rates.shape == (7, 60)


def test_categories_drift_by_the_total_variation_declared():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    stable, candidate = simulate_categories(
        shares, 0.1, requests=1000, percent=20, looks=30, rollouts=50, seed=1
    )
    assert stable.shape == candidate.shape == (50, 30, 4)
    assert ((stable + candidate).sum(axis=2) == 1000).all()
    found = [arm.sum(axis=(0, 1)) / arm.sum() for arm in (stable, candidate)]
    assert found[0] == pytest.approx(shares, abs=0.003)
    assert np.abs(found[0] - found[1]).sum() / 2 == pytest.approx(0.1, abs=0.005)


def test_sums_are_those_of_normal_values():
    stable, candidate = simulate_means(
        10, 3, 0.5, requests=100, percent=20, looks=30, rollouts=100, seed=1
    )
    assert ((stable.count + candidate.count) == 100).all()
    for arm, mean in ((stable, 10), (candidate, 10.5)):
        count = arm.count.sum()
        assert arm.sum.sum() / count == pytest.approx(mean, abs=0.06)
        variance = arm.sum_squares.sum() / count - (arm.sum.sum() / count) ** 2
        assert variance == pytest.approx(9, rel=0.03)


def test_no_value_or_one_has_no_spread():
    _, candidate = simulate_means(10, 3, 0, requests=3, percent=20, looks=50, rollouts=50, seed=1)
    few = candidate.count <= 1
    assert few.any()
    assert candidate.sum_squares[few] == pytest.approx(candidate.sum[few] ** 2)
