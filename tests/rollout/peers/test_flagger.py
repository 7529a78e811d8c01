# pyright: basic
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import comb
from scipy.stats import binom

from rollout.judge.series import Counts
from rollout.peers import flagger

NAN = np.nan
GOOD, BAD = (0.0, 100.0), (2.0, 100.0)


def series(*checks: tuple[float, float]) -> Counts:
    return Counts.of(*zip(*checks, strict=True))


@pytest.mark.parametrize(
    ("checks", "steps", "threshold", "reverted_at", "passed_at"),
    [
        # fluxcd/flagger, scheduler_deployment_test.go, TestScheduler_DeploymentAnalysisPhases:
        # with a step of 100, the first checked tick promotes.
        ([GOOD, BAD], 1, 1, np.inf, 0),
        # TestScheduler_DeploymentRollback: the tick after the last tolerated failure rolls back.
        ([GOOD] * 3 + [BAD] * 10, 20, 10, 13, np.inf),
        ([BAD, GOOD], 10, 1, 1, np.inf),
        # A success does not make up for a failure: scheduler.go resets for a new revision only.
        ([BAD, GOOD, BAD, GOOD, BAD, GOOD], 10, 3, 5, np.inf),
        # A failure does not take a step back either.
        ([GOOD, BAD, GOOD, BAD, GOOD], 3, 3, np.inf, 4),
        ([GOOD, BAD], 3, 3, np.inf, np.inf),
        # scheduler_metrics.go: no values, or NaN, fail the check.
        ([(NAN, NAN), (0.0, 0.0)], 1, 2, 2, np.inf),
        ([GOOD, (NAN, NAN), (0.0, 0.0), GOOD], 2, 3, np.inf, 3),
        # `value > max` fails, equality does not.
        ([(1.0, 100.0)], 1, 1, np.inf, 0),
    ],
)
def test_ticks(checks, steps, threshold, reverted_at, passed_at):
    reaction = flagger(series(*checks), 0.01, steps_needed=steps, threshold=threshold)
    assert reaction.reverted_at == reverted_at
    assert reaction.passed_at == passed_at


# Rate p, requests n, P(rollback) with threshold 5 and 10: shared/rollout-anchors.md, part 4.
HEALTHY = [
    (0.002, 10, 0.000, 0.000),
    (0.002, 50, 0.008, 0.000),
    (0.005, 10, 0.000, 0.000),
    (0.005, 50, 0.181, 0.004),
    (0.005, 100, 0.006, 0.000),
    (0.005, 500, 0.000, 0.000),
    (0.008, 50, 0.516, 0.062),
    (0.008, 500, 0.162, 0.003),
    (0.008, 2000, 0.028, 0.000),
]


def rollback_probability(failing: float, steps: int, threshold: int) -> float:
    successes = np.arange(steps)
    ways = comb(threshold - 1 + successes, successes)
    return float((ways * failing**threshold * (1 - failing) ** successes).sum())


@pytest.mark.parametrize(("rate", "requests", "five", "ten"), HEALTHY)
def test_false_rollbacks_of_healthy_candidates(rate, requests, five, ten):
    rollouts = 20_000
    failing = float(binom.sf(np.floor(0.01 * requests), requests, rate))
    bad = np.random.default_rng(1).binomial(requests, rate, (rollouts, 19)).astype(float)
    counts = Counts(bad, np.full(bad.shape, float(requests)))
    for threshold, published in ((5, five), (10, ten)):
        exact = rollback_probability(failing, 10, threshold)
        assert exact == pytest.approx(published, abs=6e-4)
        reaction = flagger(counts, 0.01, steps_needed=10, threshold=threshold)
        reverted = np.isfinite(reaction.reverted_at)
        assert reverted.mean() == pytest.approx(exact, abs=4 * np.sqrt(0.25 / rollouts))
        # 19 checks are enough for one of the two.
        assert (reverted ^ np.isfinite(reaction.passed_at)).all()


def test_harmful_candidates_that_pass():
    # 3% against a ceiling of 1%: shared/rollout-anchors.md, part 4.
    for requests, published in ((10, 0.704), (50, 0.0)):
        bad = np.random.default_rng(2).binomial(requests, 0.03, (20_000, 14)).astype(float)
        counts = Counts(bad, np.full(bad.shape, float(requests)))
        passed = np.isfinite(flagger(counts, 0.01, steps_needed=10, threshold=5).passed_at)
        assert passed.mean() == pytest.approx(published, abs=0.013)
