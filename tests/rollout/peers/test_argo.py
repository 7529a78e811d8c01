# pyright: basic
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from rollout.judge.series import Counts
from rollout.peers import argo
from rollout.peers.argo import Limits, Phase, Tally, assess, run_metric

S, F, U, E = Phase.SUCCESSFUL, Phase.FAILED, Phase.INCONCLUSIVE, Phase.ERROR
RUNNING = Phase.RUNNING
NAN = np.nan


def tally(successful: int = 0, failed: int = 0, inconclusive: int = 0, **rest: int) -> Tally:
    return Tally(successful, failed, inconclusive, **rest)


ANY_FAILURE = Limits(failure=-1)


@pytest.mark.parametrize(
    ("taken", "limits", "phase"),
    [
        # Expected phases: argoproj/argo-rollouts, analysis/analysis_test.go.
        # TestAssessMetricStatusFailureLimit
        (tally(failed=3), Limits(failure=2), F),
        (tally(failed=3), Limits(failure=3), RUNNING),
        # TestAssessMetricStatusConsecutiveSuccessLimit
        (
            tally(4, 3, consecutive_success=3),
            Limits(failure=-1, consecutive_success=3),
            S,
        ),
        (
            tally(4, 3, consecutive_success=3),
            Limits(failure=-1, consecutive_success=5),
            RUNNING,
        ),
        (
            tally(4, 3, consecutive_success=3),
            Limits(count=7, failure=-1, consecutive_success=5),
            F,
        ),
        (
            tally(4, 3, consecutive_success=3),
            Limits(count=7, failure=-1, consecutive_success=3),
            S,
        ),
        (
            tally(4, 3, consecutive_success=3),
            Limits(count=9, failure=-1, consecutive_success=3),
            S,
        ),
        (
            tally(4, 3, consecutive_success=3),
            Limits(count=9, failure=-1, consecutive_success=5),
            RUNNING,
        ),
        # TestAssessMetricStatusFailureLimitAndConsecutiveSuccessLimit
        (tally(4, 3, consecutive_success=3), Limits(failure=4, consecutive_success=4), RUNNING),
        (tally(9, 5), Limits(failure=4, consecutive_success=4), F),
        (tally(5, 3, consecutive_success=4), Limits(failure=4, consecutive_success=4), S),
        (tally(5, 5, consecutive_success=4), Limits(failure=4, consecutive_success=4), F),
        (
            tally(6, 4, consecutive_success=3),
            Limits(count=10, failure=4, consecutive_success=4),
            U,
        ),
        (
            tally(5, 5, consecutive_success=3),
            Limits(count=10, failure=4, consecutive_success=4),
            F,
        ),
        (
            tally(6, 4, consecutive_success=4),
            Limits(count=10, failure=4, consecutive_success=4),
            S,
        ),
        (
            tally(5, 5, consecutive_success=4),
            Limits(count=10, failure=4, consecutive_success=4),
            F,
        ),
        (
            tally(5, 3, consecutive_success=3),
            Limits(count=10, failure=4, consecutive_success=4),
            RUNNING,
        ),
        (
            tally(3, 5, consecutive_success=3),
            Limits(count=10, failure=4, consecutive_success=4),
            F,
        ),
        # TestAssessMetricStatusInconclusiveLimit
        (tally(inconclusive=3), Limits(inconclusive=2), U),
        (tally(inconclusive=3), Limits(inconclusive=3), RUNNING),
        # TestAssessMetricStatusConsecutiveErrors
        (tally(consecutive_error=5), Limits(), E),
        (tally(consecutive_error=4), Limits(), RUNNING),
        # TestAssessMetricStatusCountReached
        (tally(10), Limits(count=10), S),
        (tally(5, inconclusive=5), Limits(count=10), U),
        # TestAssessMetricFailureInconclusiveOrError
        (tally(failed=1), Limits(), F),
        (tally(inconclusive=1), Limits(), U),
        # A later check overrides an earlier one: analysis.go.
        (tally(failed=1, inconclusive=1), Limits(), U),
        (tally(failed=1, inconclusive=1, consecutive_error=5), Limits(), E),
        (tally(failed=99), ANY_FAILURE, RUNNING),
    ],
)
def test_assess(taken, limits, phase):
    assert assess(taken, limits) is phase


def test_errors_are_repeated_not_counted():
    # TestRunMeasurementsResetConsecutiveErrorCounter, and analysis.go `runMeasurements`.
    four = tally(4, consecutive_error=4)
    assert four.after(E) == tally(4, consecutive_error=5)
    assert four.after(E).count == 4
    for other in (S, F, U):
        assert four.after(other).consecutive_error == 0
        assert four.after(other).count == 5
    assert tally(2, consecutive_success=2).after(S).consecutive_success == 3
    for other in (F, U, E):
        assert tally(2, consecutive_success=2).after(other).consecutive_success == 0


@pytest.mark.parametrize(
    ("measurements", "limits", "phase"),
    [
        ([], Limits(count=1), RUNNING),
        ([S] * 9, Limits(count=10), RUNNING),
        ([S] * 10, Limits(count=10), S),
        ([S, S, F], Limits(count=10), F),
        ([F, S, S, F, S, S, F], Limits(count=10, failure=2), F),  # not in a row, yet added up
        ([F, S, S, S, F], Limits(count=5, failure=2), S),
        ([E] * 5, Limits(count=10), E),
        ([E] * 4 + [S] + [E] * 4 + [S], Limits(count=2), S),
        ([S, U], Limits(count=10), U),
        ([S, U, S], Limits(count=3, inconclusive=1), S),
        ([S, S, F, S, S, S], Limits(count=10, failure=-1, consecutive_success=3), S),
        ([S, S, F, S], Limits(count=4, failure=-1, consecutive_success=3), F),
        ([S, S, F, S], Limits(count=4, failure=1, consecutive_success=3), U),
        ([S, S, F, F, F], Limits(count=2), S),  # complete before the failures
    ],
)
def test_run_metric(measurements, limits, phase):
    assert run_metric(measurements, limits) is phase


# Rate p, requests n, P(false abort) with failureLimit 0 and 3: shared/rollout-anchors.md, part 4.
HEALTHY = [
    (0.002, 10, 0.181, 0.000),
    (0.002, 50, 0.633, 0.011),
    (0.005, 10, 0.394, 0.001),
    (0.005, 50, 0.918, 0.162),
    (0.005, 100, 0.610, 0.009),
    (0.005, 500, 0.346, 0.001),
    (0.008, 50, 0.982, 0.434),
    (0.008, 500, 0.910, 0.147),
    (0.008, 2000, 0.754, 0.032),
]


@pytest.mark.parametrize(("rate", "requests", "strict", "lenient"), HEALTHY)
def test_false_aborts_of_healthy_candidates(rate, requests, strict, lenient):
    rollouts = 20_000
    failing = binom.sf(np.floor(0.01 * requests), requests, rate)
    bad = np.random.default_rng(1).binomial(requests, rate, (rollouts, 10)).astype(float)
    counts = Counts(bad, np.full(bad.shape, float(requests)))
    for limit, published in ((0, strict), (3, lenient)):
        exact = binom.sf(limit, 10, failing)
        assert exact == pytest.approx(published, abs=6e-4)
        reaction = argo(counts, 0.01, count=10, failure_limit=limit)
        aborted = np.isfinite(reaction.reverted_at)
        assert aborted.mean() == pytest.approx(exact, abs=4 * np.sqrt(0.25 / rollouts))
        assert (aborted ^ (reaction.passed_at == 9)).all()


@pytest.mark.parametrize(("requests", "strict", "lenient"), [(10, 0.048, 0.746), (50, 0.0, 0.002)])
def test_harmful_candidates_that_pass(requests, strict, lenient):
    # 3% against a ceiling of 1%: shared/rollout-anchors.md, part 4.
    bad = np.random.default_rng(2).binomial(requests, 0.03, (20_000, 10)).astype(float)
    counts = Counts(bad, np.full(bad.shape, float(requests)))
    for limit, published in ((0, strict), (3, lenient)):
        passed = np.isfinite(argo(counts, 0.01, count=10, failure_limit=limit).passed_at)
        assert passed.mean() == pytest.approx(published, abs=0.01)


def by_state_machine(counts: Counts, ceiling: float, limits: Limits, empty: Phase, undef: Phase):
    """One rollout, measurement by measurement; returns the intervals of revert and pass."""
    taken, before = Tally(), None
    for interval, (bad, total) in enumerate(zip(counts.bad, counts.total, strict=True)):
        if np.isnan(bad):
            measurement = empty
        elif total == 0:
            measurement = undef
        else:
            measurement = S if bad / total <= ceiling else F
        # An error is repeated every 10 of the 60 seconds until the next one.
        repeats = 6 if measurement is E and before is E else 1
        before = measurement
        for _ in range(repeats):
            taken = taken.after(measurement)
            phase = assess(taken, limits)
            if phase in {F, E}:
                return interval, np.inf
            if phase is S:
                return np.inf, interval
            if phase is U:
                return np.inf, np.inf
    return np.inf, np.inf


@pytest.mark.parametrize("empty", [E, F, S, U])
@pytest.mark.parametrize("undefined", [F, S, U, E])
@pytest.mark.parametrize("failure_limit", [0, 2])
def test_many_at_once_agree_with_the_state_machine(empty, undefined, failure_limit):
    rng = np.random.default_rng(3)
    total = rng.choice([NAN, 0.0, 100.0], p=[0.1, 0.05, 0.85], size=(20, 10, 14))
    bad = np.where(total > 0, rng.binomial(100, 0.006, total.shape), total)
    counts = Counts(bad, total)
    reaction = argo(
        counts,
        0.01,
        count=8,
        failure_limit=failure_limit,
        empty=empty,
        undefined=undefined,
    )
    limits = Limits(count=8, failure=failure_limit)
    expected = [
        [
            by_state_machine(Counts(b, t), 0.01, limits, empty, undefined)
            for b, t in zip(bs, ts, strict=True)
        ]
        for bs, ts in zip(bad, total, strict=True)
    ]
    expected = np.array(expected)
    np.testing.assert_array_equal(reaction.reverted_at, expected[..., 0])
    np.testing.assert_array_equal(reaction.passed_at, expected[..., 1])
    assert np.isfinite(expected[..., 0]).any()
    assert np.isfinite(expected[..., 1]).any()


def test_an_outage_aborts_within_a_minute():
    # Five errors 10 seconds apart: the first at the end of interval 1, the fifth 40 seconds later.
    outage = Counts.of([0, NAN, NAN, 0, 0, 0], [10, NAN, NAN, 10, 10, 10])
    assert argo(outage, 0.01, count=4).reverted_at == 2
    blip = Counts.of([0, NAN, 0, 0, 0, 0], [10, NAN, 10, 10, 10, 10])
    assert argo(blip, 0.01, count=4).passed_at == 4
    # Where the next measurement is due before a repetition, there is one error per interval.
    assert argo(outage, 0.01, count=4, interval_seconds=10).passed_at == 5
    long = Counts.of([NAN] * 6, [NAN] * 6)
    assert argo(long, 0.01, count=4, interval_seconds=10).reverted_at == 4
    assert argo(long, 0.01, count=4, interval_seconds=5).reverted_at == 4


def test_a_rate_at_the_ceiling_is_a_success():
    for requests in (100, 300, 700, 1100, 12_300):
        counts = Counts.of([requests / 100], [requests])
        assert argo(counts, 0.01, count=1).passed_at == 0
