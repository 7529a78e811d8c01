# pyright: basic
from __future__ import annotations

import numpy as np
import pytest

from rollout.judge.series import Counts
from rollout.peers import growthbook
from rollout.peers.growthbook import e_value, half_width, p_value

# Expected numbers: growthbook/growthbook, packages/stats/tests/frequentist/test_tests.py.
REQUESTS = 3000 + 3461
ABSOLUTE = 0.23437666666666668, 0.12983081254184736
RELATIVE = 0.5033610858562358, 0.3334122146400735


@pytest.mark.parametrize(
    ("estimate", "error", "lower"),
    [
        # TestSequentialOneSidedGreaterTTest
        (*ABSOLUTE, -0.12656844172804982),
        (*RELATIVE, -0.42356454602790883),
    ],
)
def test_one_sided_interval(estimate, error, lower):
    width = half_width(error, REQUESTS, 0.05)
    assert estimate - width == pytest.approx(lower, abs=1e-12)


@pytest.mark.parametrize(
    ("estimate", "error", "upper"),
    [
        # TestSequentialOneSidedLesserTTest
        (*ABSOLUTE, 0.5953217750613832),
        (*RELATIVE, 1.4302867177403806),
    ],
)
def test_the_other_side_is_as_wide(estimate, error, upper):
    assert estimate + half_width(error, REQUESTS, 0.05) == pytest.approx(upper, abs=1e-12)


def test_p_value():
    # TestSequentialOneSidedGreaterTTest. The published number, 3795/4096 of the range, comes from a
    # bisection that takes one more step after it has converged, to 3794/4096.
    last_step = (0.4999 - 1e-5) / 4096
    published = 0.46316491943359384 - last_step
    assert p_value(*ABSOLUTE, REQUESTS, 0.05) == pytest.approx(published, abs=8e-6)
    assert p_value(*RELATIVE, REQUESTS, 0.05) == 0.4999
    # TestSequentialOneSidedLesserTTest: the estimate lies on the wrong side.
    assert p_value(-ABSOLUTE[0], ABSOLUTE[1], REQUESTS, 0.05) == 0.4999
    assert p_value(100.0, 1.0, REQUESTS, 0.05) == 1e-5


def test_the_p_value_is_the_level_at_which_the_interval_ends_at_zero():
    for requests in (50.0, 5000.0, 1e6):
        width = half_width(0.3, requests, 0.02)
        assert p_value(width, 0.3, requests, 0.02) == pytest.approx(0.02, rel=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "error", "requests", "tuned_for"),
    [
        # TestSequentialTTest: the ends of a two-sided 95% interval, to 5 decimals.
        (-0.55844, 1.56516, 0.33341, REQUESTS, 1000),
        (0.40098, 0.60675, 0.03386, REQUESTS, 5000),
        (-0.50969, 1.51646, 0.33341, REQUESTS, 5000),
        (-0.02063, 0.01923, 0.00391, 200, 5000),
    ],
)
def test_the_e_value_is_20_where_the_95_percent_interval_ends(
    low, high, error, requests, tuned_for
):
    found = e_value((high - low) / 2, error, requests, 0.05, tuned_for)
    assert found == pytest.approx(20, rel=0.02)


def test_two_sided_p_values():
    # TestSequentialTTest: 1 and 0, to 5 decimals.
    assert e_value(0.50336, 0.33341, REQUESTS, 0.05, 1000) < 1
    assert e_value(0.50386, 0.03386, REQUESTS, 0.05) > 2e5


def test_the_rule_looks_at_totals_so_far():
    rng = np.random.default_rng(1)
    stable = Counts(rng.binomial(400, 0.02, (3, 10, 30)).astype(float), np.full((3, 10, 30), 400.0))
    bad = rng.binomial(100, 0.05, (3, 10, 30)).astype(float)
    missing = rng.random(bad.shape) < 0.1
    candidate = Counts(np.where(missing, np.nan, bad), np.where(missing, np.nan, 100.0))
    reaction = growthbook(stable, candidate, 0.05)

    def first_look(s: Counts, c: Counts) -> float:
        for end in range(1, 31):
            ns, nc = s.total[:end].sum(), np.nansum(c.total[:end])
            if nc == 0:
                continue
            ps, pc = s.bad[:end].sum() / ns, np.nansum(c.bad[:end]) / nc
            error = np.sqrt(ps * (1 - ps) / ns + pc * (1 - pc) / nc)
            if pc > 0 and ps > 0 and p_value(pc - ps, error, ns + nc, 0.05) < 0.05:
                return end - 1
        return np.inf

    expected = [
        [
            first_look(
                Counts(stable.bad[i, j], stable.total[i, j]),
                Counts(candidate.bad[i, j], candidate.total[i, j]),
            )
            for j in range(10)
        ]
        for i in range(3)
    ]
    np.testing.assert_array_equal(reaction.reverted_at, expected)
    reverted = np.isfinite(reaction.reverted_at)
    assert reverted.sum() > 20
    np.testing.assert_array_equal(reaction.passed_at, np.where(reverted, np.inf, 29))


def test_no_decision_while_an_arm_has_no_failure_or_no_success():
    # models/tests.py, EffectMoments.compute_result: no variance in an arm is an error there.
    stable = Counts.of([0] * 5, [1000] * 5)
    candidate = Counts.of([500] * 5, [1000] * 5)
    assert growthbook(stable, candidate, 0.05).passed_at == 4
    one_failure = Counts.of([0, 0, 1, 0, 0], [1000] * 5)
    assert growthbook(one_failure, candidate, 0.05).reverted_at == 2
    only_failures = Counts.of([1000] * 5, [1000] * 5)
    some_failures = Counts.of([10] * 5, [1000] * 5)
    assert growthbook(some_failures, only_failures, 0.05).passed_at == 4
    nobody = Counts.of([0] * 5, [0] * 5)
    assert growthbook(nobody, candidate, 0.05).passed_at == 4


def arms(rate: float, rpm: int, rollouts: int, seed: int) -> tuple[Counts, Counts]:
    """Draws stable at 1% with nine tenths of the requests, and a candidate; 60 minutes."""
    rng = np.random.default_rng(seed)
    shape = (rollouts, 60)
    candidate, stable = rpm // 10, rpm - rpm // 10
    return (
        Counts(rng.binomial(stable, 0.01, shape).astype(float), np.full(shape, float(stable))),
        Counts(
            rng.binomial(candidate, rate, shape).astype(float), np.full(shape, float(candidate))
        ),
    )


@pytest.mark.parametrize(
    ("rate", "rpm", "share", "minutes"),
    [
        # shared/rollout-anchors.md, part 4: 600 repetitions each.
        (0.01, 100, 0.0, None),
        (0.01, 500, 0.0, None),
        (0.01, 5000, 0.007, None),
        (0.02, 100, 0.10, None),
        (0.02, 500, 0.91, 30),
        (0.02, 5000, 1.0, 4),
        (0.05, 100, 0.985, 24),
        (0.05, 500, 1.0, 5),
        (0.05, 5000, 1.0, 1),
    ],
)
def test_share_of_rollouts_reverted(rate, rpm, share, minutes):
    reverted_at = growthbook(*arms(rate, rpm, 2000, 4), 0.05).reverted_at
    found = np.isfinite(reverted_at)
    error = np.sqrt(max(share * (1 - share), 0.002) * (1 / 600 + 1 / 2000))
    assert found.mean() == pytest.approx(share, abs=4 * error)
    if minutes is not None:
        assert np.median(reverted_at[found]) + 1 == pytest.approx(minutes, abs=0.05 * minutes)
