# pyright: basic
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.service import Service
from models.stack import parse_stack
from rollout.judge import Arm, Counts, Observations, Terms, Verdict, judge
from rollout.judge.bounds import difference_bounds
from rollout.judge.e_process import (
    ceiling_evidence,
    extreme_evidence,
    harm_evidence,
    margin_evidence,
    split_evidence,
)
from tests.stacks import LOCAL

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
ALPHA = 0.01


def arms(
    rng: np.random.Generator,
    rates: tuple[float, float],
    *,
    requests: int = 500,
    share: float = 0.1,
    intervals: int = 60,
) -> tuple[Counts, Counts]:
    candidate = rng.binomial(requests, share, intervals)
    stable = requests - candidate
    return (
        Counts.of(rng.binomial(stable, rates[0]), stable),
        Counts.of(rng.binomial(candidate, rates[1]), candidate),
    )


def reached(evidence: np.ndarray, level: float) -> bool:
    return bool(evidence.max() >= -np.log(level))


@pytest.mark.parametrize(
    ("rates", "margin"), [((0.01, 0.01), 0.0), ((0.01, 0.03), 0.02), ((0.3, 0.3), 0.0)]
)
def test_healthy_rollouts_are_reverted_at_most_alpha_of_the_time(rates, margin):
    rng = np.random.default_rng(7)
    runs = 400
    false = sum(
        reached(harm_evidence(*arms(rng, rates), margin, 0.01, ALPHA), ALPHA) for _ in range(runs)
    )
    # 11 of 400 has a probability under 0.3% at 1%.
    assert false <= 10


def test_rates_that_change_with_the_split_are_no_harm():
    """1% by night at a low share, 50% by day at a high one: equal arms."""
    rng = np.random.default_rng(3)
    night = arms(rng, (0.01, 0.01), share=0.01, requests=5000, intervals=30)
    day = arms(rng, (0.5, 0.5), share=0.5, requests=5000, intervals=30)
    stable, candidate = (
        Counts.of(np.r_[n.bad, d.bad], np.r_[n.total, d.total])
        for n, d in zip(night, day, strict=True)
    )
    assert not reached(harm_evidence(stable, candidate, 0.0, 0.01, ALPHA), ALPHA)


def test_harm_is_found_also_when_it_begins_late():
    rng = np.random.default_rng(5)
    good = arms(rng, (0.01, 0.01), intervals=120)
    bad = arms(rng, (0.01, 0.1), intervals=20)
    stable, candidate = (
        Counts.of(np.r_[g.bad, b.bad], np.r_[g.total, b.total])
        for g, b in zip(good, bad, strict=True)
    )
    assert reached(harm_evidence(stable, candidate, 0.0, 0.01, ALPHA), ALPHA)


def test_a_handful_of_failures_proves_extreme_harm():
    stable, candidate = Counts.of([0], [200]), Counts.of([7], [8])
    assert reached(extreme_evidence(stable, candidate, 0.01), ALPHA / 10)
    once = harm_evidence(stable, candidate, 0.002, 0.01, ALPHA)
    assert not reached(once, ALPHA)  # ordinary harm must last for more than one interval


def test_a_candidate_at_the_margin_passes_at_most_beta_of_the_time():
    rng = np.random.default_rng(11)
    passed = sum(
        reached(margin_evidence(*arms(rng, (0.02, 0.03), share=0.5), 0.01, 0.01), 0.05)
        for _ in range(400)
    )
    assert passed <= 32  # 33 of 400 has a probability under 0.3% at 5%
    equal = arms(rng, (0.02, 0.02), share=0.5, requests=2000)
    assert reached(margin_evidence(*equal, 0.01, 0.01), 0.05)


def test_bounds_enclose_the_true_difference_and_shrink():
    rng = np.random.default_rng(2)
    few, many = (arms(rng, (0.02, 0.05), intervals=n, share=0.5) for n in (5, 200))
    wide, narrow = (difference_bounds(*it, 0.01, 0.005) for it in (few, many))
    assert wide[0] <= 0.03 <= wide[1]
    assert 0.01 < narrow[0] <= 0.03 <= narrow[1] < 0.05
    assert difference_bounds(Counts.of([], []), Counts.of([], []), 0.01, 0.01) == (-1, 1)


def harm(stable: Counts, candidate: Counts, margin: float, guess: float) -> np.ndarray:
    return harm_evidence(stable, candidate, margin, guess, 0.001)


@pytest.mark.parametrize("evidence", [harm, margin_evidence])
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 8), st.integers(0, 8), st.floats(-0.5, 0.5), st.floats(0.001, 0.5))
def test_one_interval_is_an_e_variable(evidence, stable_total, candidate_total, margin, guess):
    """The expectation over all outcomes is at most 1 at the border of the null."""
    rate = np.clip(0.2, max(0, -margin), min(1, 1 - margin))
    p = np.clip(rate, 0, 1), np.clip(rate + margin, 0, 1)
    total = 0.0
    totals = stable_total, candidate_total
    for k in range(totals[0] + 1):
        for j in range(totals[1] + 1):
            arms_seen = Counts.of([k], [totals[0]]), Counts.of([j], [totals[1]])
            e = np.exp(evidence(*arms_seen, margin, guess))[0]
            total += e * binom.pmf(k, totals[0], p[0]) * binom.pmf(j, totals[1], p[1])
    assert total <= 1 + 1e-6


def test_a_ceiling_is_refuted_only_above_it():
    assert reached(ceiling_evidence(Counts.of([20] * 5, [200] * 5), 0.01), ALPHA)
    assert not reached(ceiling_evidence(Counts.of([2] * 5, [200] * 5), 0.01), ALPHA)


def test_a_wrong_split_is_seen_and_a_right_one_is_not():
    rng = np.random.default_rng(1)
    total, percents = np.full(50, 200.0), np.full(50, 10.0)
    right = rng.binomial(200, 0.1, 50).astype(float)
    assert not reached(split_evidence(right, total, percents), 0.001)
    for share in (0.0, 0.2, 1.0):
        wrong = rng.binomial(200, share, 50).astype(float)
        assert reached(split_evidence(wrong, total, percents), 0.001)


# The rules and their order.


def fraud(*, percent: int = 5) -> Service:
    steps = sorted({1, 5, 25, 100, percent} - {0})
    text = LOCAL.replace("percent: 5,", f"percent: {percent},")
    return parse_stack(text.replace("[1, 5, 25, 100]", str(steps)), "x").services["fraud"]


def seen(
    *,
    errors: tuple[int, int] = (10, 1),
    slow: tuple[int, int] = (10, 1),
    wrong: tuple[int, int] = (50, 3),
    requests: tuple[int, int] = (1900, 100),
    intervals: int = 20,
    percent: float = 5,
) -> Observations:
    def arm(version: str, index: int) -> Arm:
        total = np.full(intervals, requests[index])
        by_metric = zip(("errorRate", "latency", "accuracy"), (errors, slow, wrong), strict=True)
        return Arm(
            version,
            {name: Counts.of(np.full(intervals, bad[index]), total) for name, bad in by_metric},
            total.astype(float),
        )

    return Observations(
        start=START,
        interval_seconds=60,
        weights=np.full(intervals, percent),
        declared_now=percent,
        stable=arm("1.4.0", 0),
        candidate=arm("1.5.0", 1),
    )


def decide(observations: Observations, *, percent: int = 5, late_seconds: float = 0) -> Verdict:
    end = observations.time_of(len(observations.weights))
    return judge(
        Terms.of(fraud(percent=percent)), observations, end + timedelta(seconds=late_seconds)
    )


def test_an_unharmed_candidate_advances_when_the_bake_is_over():
    verdict = decide(seen(intervals=10))
    assert verdict.kind == "advance"
    assert verdict.step_requests == 1000
    assert decide(seen(intervals=9)).needed.reasons == ("60 s of bake time",)


def test_too_few_requests_hold_an_advance_but_not_a_revert():
    few = seen(errors=(0, 0), slow=(0, 0), wrong=(0, 0), requests=(95, 5), intervals=15)
    assert decide(few).needed.reasons == ("25 requests",)
    broken = seen(errors=(0, 5), slow=(0, 0), wrong=(0, 0), requests=(95, 5), intervals=2)
    verdict = decide(broken)
    assert verdict.kind == "revert"
    assert "candidate fails 100.00% of requests (10), stable 0.00% (190)" in verdict.reason


def test_each_metric_can_revert():
    assert "is slow on 20.00%" in decide(seen(slow=(10, 20))).reason
    verdict = decide(seen(wrong=(50, 30)))
    assert verdict.kind == "revert"
    assert "is wrong on 30.00% of labelled requests" in verdict.reason
    assert "the margin is 1.0 points" in verdict.reason


def test_the_margin_step_waits_until_harm_is_ruled_out():
    short = decide(
        seen(percent=25, requests=(300, 100), errors=(3, 1), slow=(3, 1), wrong=(3, 1)), percent=25
    )
    assert short.kind == "hold"
    assert any(
        "to rule out that errorRate is worse by 0.2 points" in it for it in short.needed.reasons
    )
    clean = seen(
        percent=25, requests=(30000, 10000), errors=(3, 1), slow=(3, 1), wrong=(3, 1), intervals=30
    )
    done = decide(clean, percent=25)
    assert done.kind == "advance"
    assert "ruled out at 5%: errorRate worse by 0.2 points, latency" in done.reason


def test_a_wrong_split_holds_but_extreme_harm_goes_first():
    swapped = seen(requests=(100, 1900), errors=(0, 0), slow=(0, 0), wrong=(0, 0))
    verdict = decide(swapped)
    assert verdict.kind == "hold"
    assert "(it looks like swapped labels): 95.0%" in verdict.reason
    ordinary = seen(requests=(100, 1900), errors=(0, 95))
    assert decide(ordinary).kind == "hold"
    assert decide(seen(requests=(100, 1900), errors=(0, 900))).kind == "revert"


def test_requests_without_an_answer_are_no_wrong_split():
    hanging = seen(requests=(1900, 0), errors=(10, 0), slow=(10, 0), wrong=(50, 0))
    sent = replace(hanging.candidate, routed=np.full(20, 100.0))
    verdict = decide(replace(hanging, candidate=sent))
    assert verdict.split is not None
    assert not verdict.split.wrong


def test_a_wrong_split_that_was_mended_is_forgiven():
    good = seen(intervals=30)
    weights = np.r_[np.full(10, 1.0), np.full(20, 5.0)]  # at 1% it had 5% of the requests
    assert decide(replace(good, weights=weights)).kind == "advance"


@pytest.mark.parametrize(
    ("ready", "kind"), [(None, "no-data"), (np.r_[np.ones(29), 0.0], "hold"), (1.0, "advance")]
)
def test_a_candidate_that_nothing_is_sent_to_is_judged_by_ready_alone(ready: Any, kind: str):
    observed = seen(intervals=30, percent=0)
    weights = np.r_[np.full(20, 5.0), np.zeros(10)]
    served = weights > 0
    metrics = {
        name: Counts.of(np.where(served, counts.bad, 0), np.where(served, counts.total, 0))
        for name, counts in observed.candidate.metrics.items()
    }
    ready = None if ready is None else np.broadcast_to(ready, 30)
    candidate = Arm("1.5.0", metrics, np.where(served, 100.0, 0.0), ready=ready)
    verdict = decide(replace(observed, weights=weights, candidate=candidate), percent=0)
    assert (verdict.kind, verdict.split) == (kind, None)


def test_the_last_step_needs_the_margin_before_100():
    verdict = decide(seen(percent=60, requests=(400, 600), errors=(4, 6)), percent=60)
    assert verdict.kind == "hold"
    assert any("to rule out that errorRate" in it for it in verdict.needed.reasons)


def test_what_is_not_known_moves_nothing():
    good = seen()
    nothing = Counts.of(np.full(20, np.nan), np.full(20, np.nan))
    metrics = dict.fromkeys(good.candidate.metrics, nothing)
    blind = replace(good, candidate=replace(good.candidate, metrics=metrics))
    assert decide(blind).kind == "no-data"
    assert decide(replace(good, declared_now=None)).kind == "no-data"
    assert "not in effect: 1% is" in decide(replace(good, declared_now=1.0)).reason
    assert "240 s old" in decide(good, late_seconds=240).reason
    assert decide(replace(good, weights=np.full(20, np.nan))).kind == "no-data"
    impossible = Counts.of(np.full(20, 500), np.full(20, 100))
    broken = {**good.candidate.metrics, "errorRate": impossible}
    strange = replace(good, candidate=replace(good.candidate, metrics=broken))
    assert decide(strange).kind == "no-data"


def test_missing_labels_hold_where_accuracy_is_promised():
    good = seen()
    none = Counts.of(np.full(20, np.nan), np.full(20, np.nan))
    unlabelled = {**good.candidate.metrics, "accuracy": none}
    verdict = decide(replace(good, candidate=replace(good.candidate, metrics=unlabelled)))
    assert verdict.kind == "hold"
    assert verdict.needed.reasons == ("counts of accuracy for both versions at this step",)


def test_labels_of_an_earlier_step_do_not_carry_this_one():
    good = seen(intervals=30)
    weights = np.r_[np.full(10, 1.0), np.full(20, 5.0)]
    labels = good.candidate.metrics["accuracy"]
    stopped = Counts.of(labels.bad, np.where(weights == 1, labels.total, 0))
    stopped = Counts.of(np.where(weights == 1, labels.bad, 0), stopped.total)
    metrics = {**good.candidate.metrics, "accuracy": stopped}
    late = replace(good, weights=weights, candidate=replace(good.candidate, metrics=metrics))
    assert decide(late).needed.reasons == ("counts of accuracy for both versions at this step",)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"errors": (0, 0), "slow": (0, 0), "wrong": (0, 0)}, "promote"),
        ({"errors": (0, 20)}, "revert"),
        ({"slow": (0, 20)}, "revert"),
        ({"wrong": (0, 30)}, "revert"),
    ],
)
def test_alone_at_100_percent_every_slo_decides(bad, kind):
    observed = seen(percent=100, requests=(0, 100), **bad)
    verdict = decide(observed, percent=100)
    assert verdict.kind == kind
    assert ("without the alpha guarantee" in verdict.reason) == (kind == "revert")


def test_a_breach_that_stable_had_too_has_a_shared_cause():
    observed = seen(percent=100, requests=(1000, 100), errors=(200, 20))
    weights = np.r_[np.full(5, 25.0), np.full(15, 100.0)]
    verdict = decide(replace(observed, weights=weights), percent=100)
    assert verdict.kind == "hold"
    assert "stable was over it too: 20.00%" in verdict.reason


def test_a_ceiling_of_all_is_never_breached():
    assert not reached(ceiling_evidence(Counts.of([5], [5]), 1.0), ALPHA)
