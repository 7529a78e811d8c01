# pyright: basic
from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import rel_entr

from rollout.judge.series import Counts
from rollout.peers import wald, wald_two_arms

ROLLOUTS = 4000


def draw(rate, requests: int, looks: int, seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    bad = rng.binomial(requests, np.broadcast_to(rate, (ROLLOUTS, looks)))
    return Counts(bad.astype(float), np.full(bad.shape, float(requests)))


def divergence(p: float, q: float) -> float:
    """Of one Bernoulli trial from another, in nats."""
    return float(rel_entr(p, q) + rel_entr(1 - p, 1 - q))


def test_evidence_of_single_requests():
    # Each failure is worth log(3), each success log(.7/.9).
    failures = Counts.of([1, 1, 0, 1, 1, 1], [1] * 6)
    steps = np.cumsum([np.log(3), np.log(3), np.log(0.7 / 0.9)] + [np.log(3)] * 3)
    for interval in (0, 1, 3, 4, 5):
        alpha = np.exp(-steps[interval])
        assert wald(failures, 0.1, 0.3, alpha * 1.0001).reverted_at == interval
        assert wald(failures, 0.1, 0.3, alpha * 0.9999).reverted_at == (
            interval + 1 if interval in {0, 3, 4} else (3 if interval == 1 else np.inf)
        )
    assert wald(failures, 0.1, 0.3, 0.001).passed_at == np.inf


def test_rates_may_differ_between_intervals():
    counts = Counts.of([[2, 0, 30], [2, 0, 30]], [[10, 10, 100], [10, 10, 100]])
    by_night = np.array([0.1, 0.1, 0.3])
    evidence = 2 * np.log(2) + 8 * np.log(0.8 / 0.9)
    alpha = np.exp(-evidence) * 1.0001
    reaction = wald(counts, by_night, 2 * by_night, alpha)
    np.testing.assert_array_equal(reaction.reverted_at, [0, 0])
    healthy = np.stack([by_night, np.full(3, 0.01)])
    np.testing.assert_array_equal(wald(counts, healthy, 0.2, 1e-6).reverted_at, [np.inf, 2])


def test_a_failure_that_cannot_happen_to_a_healthy_candidate_is_proof():
    assert wald(Counts.of([0, 1], [50, 50]), 0.0, 0.01, 1e-9).reverted_at == 1


def test_missing_intervals_tell_nothing():
    gap = Counts.of([1, np.nan, 1], [1, np.nan, 1])
    assert wald(gap, 0.1, 0.3, 1 / 9 * 1.0001).reverted_at == 2
    stable = Counts.of([0, 0, np.nan, 0], [10, 10, np.nan, 10])
    candidate = Counts.of([10, np.nan, 10, 10], [10, np.nan, 10, 10])
    # Each of the two intervals with both arms is worth 20 log(1.8) = 11.8.
    assert wald_two_arms(stable, candidate, 0.1, 0.9, np.exp(-11)).reverted_at == 0
    assert wald_two_arms(stable, candidate, 0.1, 0.9, np.exp(-23)).reverted_at == 3
    impossible = Counts.of([10, 90], [10, 10])
    both = Counts.of([0, 0], [10, 10])
    assert wald_two_arms(both, impossible, 0.1, 0.9, np.exp(-13)).reverted_at == np.inf
    assert wald_two_arms(impossible, both, 0.9, 0.1, np.exp(-13)).reverted_at == np.inf
    nobody = Counts.of([0, 0], [0, 0])
    assert wald_two_arms(nobody, nobody, 0.1, 0.9, 1e-3).reverted_at == np.inf


def test_alpha_is_kept_and_used():
    # With one request per interval the boundary is overshot only a little.
    share = np.isfinite(wald(draw(0.1, 1, 600, 1), 0.1, 0.2, 0.05).reverted_at).mean()
    assert 0.02 < share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / ROLLOUTS)


def test_mean_number_of_requests_is_what_wald_says():
    # E(n) * divergence = E(evidence at the end): log(1/alpha), and at most one failure more.
    reverted_at = wald(draw(0.06, 5, 1200, 2), 0.03, 0.06, 0.01).reverted_at
    assert np.isfinite(reverted_at).all()
    evidence = 5 * (reverted_at.mean() + 1) * divergence(0.06, 0.03)
    assert np.log(100) < evidence < np.log(100) + np.log(2)


def test_two_arms_are_told_from_the_nearest_equal_pair():
    healthy, harmful, stable, candidate = 0.02, 0.05, 900, 100
    nearest = minimize_scalar(
        lambda x: stable * divergence(healthy, x) + candidate * divergence(harmful, x),
        bounds=(0.001, 0.5),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert nearest.x == pytest.approx((900 * 0.02 + 100 * 0.05) / 1000, abs=1e-7)
    # Counts at their expectations have the least divergence as their evidence per interval.
    arms = Counts.of([18.0], [900.0]), Counts.of([5.0], [100.0])
    boundary = np.exp(-nearest.fun)
    assert wald_two_arms(*arms, healthy, harmful, boundary * 1.0001).reverted_at == 0
    assert wald_two_arms(*arms, healthy, harmful, boundary * 0.9999).reverted_at == np.inf


@pytest.mark.parametrize("rate", [0.1, 0.13, 0.2])
def test_two_arms_with_any_same_rate_keep_alpha(rate):
    stable, candidate = draw(rate, 2, 300, 3), draw(rate, 1, 300, 4)
    share = np.isfinite(wald_two_arms(stable, candidate, 0.1, 0.2, 0.05).reverted_at).mean()
    assert share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / ROLLOUTS)


def test_not_to_know_the_healthy_rate_costs_time():
    stable, candidate = draw(0.03, 90, 400, 5), draw(0.06, 10, 400, 6)
    known = wald(candidate, 0.03, 0.06, 0.01).reverted_at
    unknown = wald_two_arms(stable, candidate, 0.03, 0.06, 0.01).reverted_at
    assert np.isfinite(unknown).all()
    assert 1.02 < unknown.mean() / known.mean() < 1.3
