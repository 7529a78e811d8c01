"""The split: a wrong one is found, a right one is not, and labels that lie are named."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from rollout.judge import Counts, SplitVerdict
from rollout.judge.compare import Compared
from rollout.judge.e_process import peak, split_evidence
from rollout.judge.split import SPLIT_ALPHA, split
from rollout.judge.terms import ERRORS, LATENCY
from tests.rollout.judge.arms import allowed, outcomes, seen, with_arm, with_metric

NEEDED = -np.log(SPLIT_ALPHA)


def verdict_of(observed) -> SplitVerdict:
    found = split(observed, Compared.of(observed))
    assert found is not None
    return found


def routed(stable, candidate, *, percent: float = 5, errors: int = 0):
    observed = seen(intervals=len(stable), percent=percent, errors=(errors, 0))
    observed = with_arm(observed, "stable", routed=np.asarray(stable, dtype=float))
    return with_arm(observed, "candidate", routed=np.asarray(candidate, dtype=float))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0.1, 1.0, 5.0, 50.0, 95.0, 99.9])),
        min_size=1,
        max_size=3,
    )
)
def test_evidence_is_an_e_process_by_count_also_with_other_splits_in_each_interval(intervals):
    totals, percents = (np.array(column, dtype=float) for column in zip(*intervals, strict=True))
    counted, _ = outcomes([(int(total), 0) for total in totals])
    weight = binom.pmf(counted.bad, totals.astype(int), percents / 100).prod(axis=1)
    for last in range(1, len(totals) + 1):
        e_values = [
            np.exp(split_evidence(row[:last], totals[:last], percents[:last])[-1])
            for row in counted.bad
        ]
        # A simple hypothesis against a mixture: the expectation is 1.
        assert (weight * e_values).sum() == pytest.approx(1, abs=1e-6)


def test_a_right_split_is_called_wrong_at_most_at_its_level():
    """4,000 rollouts of 60 looks through four steps; 9 at 0.1% have a probability above 1%."""
    rng = np.random.default_rng(1)
    runs = 4000
    percents = np.repeat([1.0, 5.0, 25.0, 50.0], 15)
    totals = np.tile(np.r_[200, 1000, 20].astype(float), 20)
    counted = rng.binomial(totals.astype(int), percents / 100, (runs, 60)).astype(float)
    wrong = sum(peak(split_evidence(row, totals, percents)) >= NEEDED for row in counted)
    assert wrong <= allowed(runs, SPLIT_ALPHA)


@pytest.mark.parametrize(
    ("declared", "true", "requests"),
    [
        (10, 0.0, 100),
        (10, 20.0, 450),
        (10, 5.0, 1200),
        (10, 90.0, 20),
        (10, 100.0, 10),
        (1, 2.0, 5000),
        (50, 45.0, 6000),
        (50, 100.0, 40),
    ],
)
def test_a_wrong_split_is_found_within_some_requests(declared, true, requests):
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        mine = rng.binomial(requests // 10, true / 100, 10).astype(float)
        total = np.full(10, float(requests // 10))
        found += peak(split_evidence(mine, total, np.full(10, float(declared)))) >= NEEDED
    assert found > 90


@pytest.mark.parametrize("percent", [0.1, 50.0, 99.9])
@pytest.mark.parametrize("total", [0.0, 1.0, 1e9])
def test_evidence_is_a_number_whatever_the_counts(percent, total):
    for mine in (0.0, total / 2, total):
        with np.errstate(all="raise", under="ignore"):
            evidence = split_evidence(np.full(5, mine), np.full(5, total), np.full(5, percent))
        assert np.isfinite(evidence).all()
        if total == 0:
            assert evidence == pytest.approx(0, abs=1e-12)


def test_the_verdict_says_what_was_declared_and_what_was_seen():
    found = verdict_of(routed([950, 850], [50, 150]))
    assert (found.declared, found.observed, found.requests) == (0.05, 0.1, 2000)
    assert found.wrong
    assert found.looks is None
    fine = verdict_of(routed([950, 960], [50, 40]))
    assert not fine.wrong
    assert fine.e_value < 10


def test_swapped_labels_are_named_and_merged_ones_too():
    swapped = verdict_of(routed([50] * 5, [950] * 5))
    assert (swapped.wrong, swapped.looks) == (True, "swapped labels")
    half_way = verdict_of(routed([500] * 5, [500] * 4 + [501]))
    assert (half_way.wrong, half_way.looks) == (True, None)
    merged = routed([1000] * 5, [1000] * 5)
    for name in (ERRORS, LATENCY, "accuracy"):
        counts = Counts.of([3] * 5, [1000] * 5)
        merged = with_metric(with_metric(merged, "stable", name, counts), "candidate", name, counts)
    assert verdict_of(merged).looks == "merged labels"
    # At 50% the split looks right, and yet the labels do not tell the versions apart.
    even = replace(merged, weights=np.full(5, 50.0), declared_now=50)
    assert (verdict_of(even).wrong, verdict_of(even).looks) == (True, "merged labels")
    other = with_metric(even, "candidate", ERRORS, Counts.of([3, 3, 4, 3, 3], [1000] * 5))
    assert (verdict_of(other).wrong, verdict_of(other).looks) == (False, None)


def test_equal_numbers_of_two_versions_are_called_merged_at_most_at_the_level():
    """One request each in an interval: a draw has the probability 1/2; ten in a row, 0.1%."""
    for intervals, named in ((3, None), (9, None), (10, "merged labels")):
        observed = routed([1] * intervals, [1] * intervals, percent=50)
        for name in (ERRORS, LATENCY, "accuracy"):
            none = Counts.of([0] * intervals, [1] * intervals)
            for arm in ("stable", "candidate"):
                observed = with_metric(observed, arm, name, none)
        assert 0.5**intervals > SPLIT_ALPHA or named
        assert verdict_of(observed).looks == named


def test_only_the_present_step_counts_and_a_split_of_nothing_is_none():
    mended = routed([500] * 5 + [950] * 5, [500] * 5 + [50] * 5)
    assert verdict_of(mended).wrong
    weights = np.r_[np.full(5, 1.0), np.full(5, 5.0)]
    now = replace(mended, weights=weights)
    assert not verdict_of(now).wrong
    assert verdict_of(now).requests == 5000
    nothing = routed([0] * 5, [0] * 5)
    assert split(nothing, Compared.of(nothing)) is None
    blind = routed([np.nan] * 5, [50] * 5)
    assert split(blind, Compared.of(blind)) is None
    holes = routed([950, np.nan, 950], [50, 50, np.nan])
    assert verdict_of(holes).requests == 1000


def test_a_settling_split_is_no_wrong_one():
    observed = routed([500, 950, 950], [500, 50, 50])
    settled = replace(observed, weights=np.array([np.nan, 5.0, 5.0]))
    assert not verdict_of(settled).wrong
