"""What an advance still takes: told in advance, and right within a factor of two."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.judge import Counts, Observations
from rollout.judge.e_process import margin_evidence
from rollout.judge.needed import requests_to_rule_out
from rollout.judge.series import Values
from rollout.judge.terms import ERRORS, LATENCY, RateTerms, ValueTerms
from rollout.simulate import Scenario
from tests.rollout.judge.arms import (
    BETA,
    both_upto,
    decide,
    delay,
    drawn,
    one_metric,
    pick,
    seen,
    terms,
    upto,
    with_arm,
)

RATES = st.floats(0.0, 0.5)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    RATES,
    RATES,
    st.floats(1e-4, 0.5),
    st.floats(0.001, 0.999),
    st.floats(0.001, 0.4),
    st.floats(0.0, 20.0),
)
def test_the_number_of_requests_is_of_sense(stable, candidate, margin, share, beta, shown):
    still = requests_to_rule_out((stable, candidate), margin, share, beta, shown)
    if candidate - stable >= margin:
        assert still is None
        return
    if still is None:
        assert margin - (candidate - stable) <= 1e-12
        return
    assert still >= 0
    if shown > 0:
        more = requests_to_rule_out((stable, candidate), margin, share, beta, shown + 1)
        assert more is not None
        assert more <= still
    wider = requests_to_rule_out((stable, candidate), margin * 2, share, beta, shown)
    assert wider is not None
    stricter = requests_to_rule_out((stable, candidate), margin, share, beta / 2, shown)
    assert stricter is not None
    assert stricter >= still
    if -np.log(beta) <= shown:
        assert still == 0


# In simulation: fine intervals, so that the last one does not matter.

CELLS = {
    "1% at margin 0.2 points": (0.01, 0.002, 25, 1.0, 4000),
    "1% at margin 1 point": (0.01, 0.01, 10, 1.0, 500),
    "2% at margin 1 point": (0.02, 0.01, 50, 1.0, 200),
    "10% at margin 1 point": (0.1, 0.01, 50, 1.0, 1000),
    "20% at margin 5 points": (0.2, 0.05, 10, 1.0, 200),
    "somewhat worse": (0.02, 0.01, 50, 1.2, 500),
    "better": (0.02, 0.01, 50, 0.7, 100),
    "a small share": (0.01, 0.002, 5, 1.0, 10_000),
    "hardly ever bad": (0.0001, 0.002, 25, 1.0, 400),
}


def simulated(cell: str) -> tuple[tuple[Counts, Counts], np.ndarray, float]:
    """Returns both arms, how many intervals each takes, and the candidate's requests in one."""
    rate, margin, percent, harm, requests = CELLS[cell]
    scenario = Scenario(rate=rate, requests=requests, looks=120, percents=(percent,), harm=harm)
    pair = next(drawn(scenario, 300, 1, harmful=True))
    found = delay(margin_evidence(*pair, margin, rate), BETA)
    return pair, found, requests * percent / 100


def rate_of(arm: Counts, row: int) -> float:
    return float(arm.bad[row].sum() / arm.total[row].sum())


@pytest.mark.parametrize("cell", CELLS)
def test_the_requests_told_at_the_start_are_right_within_a_factor_of_two(cell):
    rate, margin, percent, harm, _ = CELLS[cell]
    _, found, per_interval = simulated(cell)
    told = requests_to_rule_out((rate, rate * harm), margin, percent / 100, BETA)
    assert told is not None
    assert 0.5 <= told / (np.median(found) * per_interval) <= 2


@pytest.mark.parametrize("cell", CELLS)
def test_the_requests_told_half_way_are_right_within_a_factor_of_two(cell):
    """From what each rollout has shown by then; those that are through already do not count."""
    rate, margin, percent, _, _ = CELLS[cell]
    pair, found, per_interval = simulated(cell)
    half = int(np.median(found) / 2)
    early = both_upto(pair, half)
    shown = np.maximum(margin_evidence(*early, margin, rate).max(axis=1), 0)
    told = [
        requests_to_rule_out(
            (rate_of(early[0], row), rate_of(early[1], row)),
            margin,
            percent / 100,
            BETA,
            float(shown[row]),
        )
        for row in range(len(found))
    ]
    open_yet = found > half
    guessed = np.median([np.inf if it is None else it for it in np.array(told)[open_yet]])
    taken = np.median(found[open_yet] - half) * per_interval
    assert 0.5 <= guessed / taken <= 2


# Through the judge.


def at_margin(stable: Counts, candidate: Counts) -> Observations:
    return one_metric(stable, candidate, 25.0)


def held(**others):
    return terms(percent=25, evidence="margin", rates={ERRORS: RateTerms(0.002, 0.05)}, **others)


def test_what_is_needed_falls_as_evidence_comes_in_and_ends_with_an_advance():
    scenario = Scenario(rate=0.01, requests=8000, looks=60, percents=(25,))
    stable, candidate = next(drawn(scenario, 40, 3))
    asked = np.full((40, 4), np.nan)
    seconds = np.full((40, 4), np.nan)
    for row in range(40):
        for at, look in enumerate((10, 14, 18, 22)):
            pair = [upto(pick(arm, row), look) for arm in (stable, candidate)]
            verdict = decide(at_margin(*pair), held())
            if verdict.kind == "advance":
                asked[row, at] = seconds[row, at] = 0
            elif verdict.needed.requests is not None:
                assert verdict.needed.seconds is not None
                asked[row, at], seconds[row, at] = verdict.needed.requests, verdict.needed.seconds
    medians = np.nanmedian(asked, axis=0)
    assert (np.diff(medians) <= 0).all()
    assert medians[0] > 2 * medians[-1]
    # 2,000 of the candidate's requests a minute.
    some = asked > 0
    assert seconds[some] == pytest.approx(asked[some] / 2000 * 60, rel=0.05)


def test_a_candidate_worse_by_the_margin_is_told_that_no_number_would_do():
    counts = Counts.of([60] * 20, [6000] * 20), Counts.of([25] * 20, [2000] * 20)
    verdict = decide(at_margin(*counts), held())
    assert verdict.kind == "hold"
    assert (verdict.needed.requests, verdict.needed.seconds) == (None, None)
    assert "not at the present rates" in verdict.reason


def test_bake_time_and_requests_are_told_as_they_are():
    few = decide(seen(requests=(190, 10), errors=(1, 0), slow=(1, 0), wrong=(5, 0), intervals=4))
    assert few.needed.reasons == ("360 s of bake time", "60 requests")
    assert few.needed.requests == 60
    # 60 requests at 10 a minute take as long as the rest of the bake.
    assert few.needed.seconds == pytest.approx(360)
    fewer = decide(seen(requests=(19, 1), errors=(0, 0), slow=(0, 0), wrong=(1, 0), intervals=4))
    assert fewer.needed.requests == 96
    assert fewer.needed.seconds == pytest.approx(96 * 60)


def test_without_traffic_no_time_is_told():
    nothing = seen(requests=(0, 0), errors=(0, 0), slow=(0, 0), wrong=(0, 0))
    verdict = decide(nothing)
    assert verdict.kind == "hold"
    assert verdict.needed.seconds is None


def test_labels_come_for_a_part_of_the_requests_only():
    """One in ten is labelled: ten times as many requests as labels are needed."""
    labels = [Counts.of([30] * 20, [600] * 20), Counts.of([10] * 20, [200] * 20)]
    observed = at_margin(Counts.of([0] * 20, [6000] * 20), Counts.of([0] * 20, [2000] * 20))
    for arm, counts in zip(("stable", "candidate"), labels, strict=True):
        metrics = {**getattr(observed, arm).metrics, "accuracy": counts}
        observed = with_arm(observed, arm, metrics=metrics)
    rates = {ERRORS: RateTerms(0.5, None), "accuracy": RateTerms(0.006, 0.1)}
    verdict = decide(observed, replace(held(), rates=rates))
    assert verdict.kind == "hold"
    metric = next(it for it in verdict.metrics if it.name == "accuracy")
    labels_needed = requests_to_rule_out(
        (0.05, 0.05), 0.006, 0.25, BETA, float(np.log(max(metric.margin_e_value or 1, 1)))
    )
    assert labels_needed
    assert verdict.needed.requests == pytest.approx(10 * labels_needed, rel=0.02)


def test_dispersion_asks_for_more():
    calm = Counts.of([60] * 10, [6000] * 10), Counts.of([20] * 10, [2000] * 10)
    bursts = Counts.of([35, 5] * 5, [2000] * 10)
    wilder = (calm[0], bursts)
    asked = [decide(at_margin(*pair), held()).needed.requests for pair in (calm, wilder)]
    verdicts = [decide(at_margin(*pair), held()) for pair in (calm, wilder)]
    assert verdicts[1].metrics[0].dispersion > 5 * verdicts[0].metrics[0].dispersion
    assert verdicts[1].kind == "hold"
    assert asked[1] is not None
    assert asked[1] > 5 * (asked[0] or 0)


def test_a_quantity_that_is_not_ruled_out_holds_and_says_so():
    rng = np.random.default_rng(5)
    draws = rng.normal(10, 3, (2, 20, 50))
    observed = at_margin(Counts.of([0] * 20, [6000] * 20), Counts.of([0] * 20, [2000] * 20))
    for arm, values in zip(("stable", "candidate"), draws, strict=True):
        one = Values(values.sum(-1), (values**2).sum(-1), np.full(20, 50.0))
        observed = with_arm(observed, arm, values={"basket": one})
    narrow = held(values={"basket": ValueTerms("decrease", 1e-6)})
    verdict = decide(observed, narrow)
    assert verdict.kind == "hold"
    assert any("to rule out that basket is worse" in it for it in verdict.needed.reasons)
    wide = held(values={"basket": ValueTerms("decrease", 2.0)})
    assert decide(observed, wide).kind == "advance"


def test_only_what_is_missing_is_named():
    clean = seen(
        percent=25,
        requests=(30000, 10000),
        errors=(3, 1),
        slow=(300, 100),
        wrong=(3, 1),
        intervals=9,
    )
    reasons = decide(clean, replace(terms(percent=25, evidence="margin"), bake_seconds=600)).needed
    assert reasons.reasons[0] == "60 s of bake time"
    assert not any(ERRORS in it for it in reasons.reasons)
    assert not any(LATENCY in it for it in reasons.reasons)
