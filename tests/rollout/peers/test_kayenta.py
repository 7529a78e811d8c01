# pyright: basic
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from rollout.judge.series import Counts
from rollout.peers import kayenta
from rollout.peers.kayenta import (
    Classification,
    Direction,
    EffectLimits,
    Label,
    NanStrategy,
    classify,
    mann_whitney,
    score,
    standardized_rank_sum,
    without_outliers,
)

PASS, HIGH, LOW, NODATA = Label.PASS, Label.HIGH, Label.LOW, Label.NODATA
INCREASE, DECREASE, EITHER = Direction.INCREASE, Direction.DECREASE, Direction.EITHER
REMOVE, REPLACE = NanStrategy.REMOVE, NanStrategy.REPLACE
NAN = np.nan


RANDOM = np.random.default_rng(5)
TEN, TEN_TOO = RANDOM.normal(10, 2, (2, 30))
TWENTY, TWENTY_TOO = RANDOM.normal(20, 2.5, (2, 30))

# Error rates in percent of some 40 requests a point, most points without an error.
SPARSE = 100 * RANDOM.binomial(1, 0.3, 210) / RANDOM.integers(18, 80, 210)
SPARSER = 100 * RANDOM.binomial(1, 0.08, 210) / RANDOM.integers(18, 80, 210)

# The labels are those that spinnaker/kayenta, ClassifierSuite.scala, asserts for such series.
FIVES = [20.0, 22, 21, 25, 30], [1.0, 2.2, 1.1, 2.5, 3.0]
ONE_TO_FIVE = [1.0, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("canary", "baseline", "settings", "label", "critical"),
    [
        (TEN, TEN_TOO, {}, PASS, False),
        (TWENTY, TEN_TOO, {}, HIGH, False),
        (TEN, TWENTY_TOO, {}, LOW, False),
        (TEN, TWENTY_TOO, {"direction": INCREASE}, PASS, False),
        (TWENTY, TEN_TOO, {"direction": DECREASE}, PASS, False),
        (TWENTY, TEN_TOO, {"direction": INCREASE}, HIGH, False),
        (TEN, TWENTY_TOO, {"direction": DECREASE}, LOW, False),
        (SPARSE, SPARSER, {}, HIGH, False),
        (*FIVES, {"effects": EffectLimits(1.2, 0.8)}, HIGH, False),
        (
            TEN,
            TWENTY_TOO,
            {"direction": DECREASE, "effects": EffectLimits(1.2, 0.8)},
            LOW,
            False,
        ),
        (
            [10.0, 12.2, 10.1, 12.5, 23.0],
            [20.0, 22, 21, 25, 30],
            {"effects": EffectLimits(1.0, 0.5)},
            PASS,
            False,
        ),
        (SPARSE, SPARSER, {"effects": EffectLimits(5.0, 1.0)}, PASS, False),
        (*FIVES, {"critical": True, "effects": EffectLimits(critical_increase=1.2)}, HIGH, True),
        (
            [2.0, 2, 2, 2, 3],
            [10.0, 20.2, 10.1, 20.5, 30.0],
            {"critical": True, "effects": EffectLimits(critical_decrease=1.2)},
            LOW,
            True,
        ),
        (
            *FIVES,
            {"critical": True, "effects": EffectLimits(5.0, critical_increase=13.0)},
            HIGH,
            False,
        ),
        (
            *FIVES,
            {"critical": True, "effects": EffectLimits(13.0, critical_increase=15.0)},
            PASS,
            False,
        ),
        (*FIVES, {"critical": True}, HIGH, True),
        ([1.0] * 3, [1.0] * 2, {"direction": DECREASE}, PASS, False),
        (ONE_TO_FIVE, ONE_TO_FIVE[::-1], {"direction": DECREASE}, PASS, False),
        ([0.0, 1, 1, 1, 1], [1.0] * 5, {"direction": DECREASE}, PASS, False),
        ([], ONE_TO_FIVE, {"direction": DECREASE}, NODATA, False),
        ([], ONE_TO_FIVE, {"direction": DECREASE, "critical": True}, NODATA, True),
        ([], ONE_TO_FIVE, {"direction": DECREASE, "nan_strategy": REPLACE}, PASS, False),
        ([1.0, 1, 1, 1, 10], [1.0] * 5, {}, PASS, False),
        ([10.0] * 5, [1.0] * 5, {}, HIGH, False),
        ([10.0] * 5, [0.0] * 5, {}, HIGH, False),
        ([54.9, 54.5, 55.1, 55.6, 57.4], [0.0] * 5, {"effects": EffectLimits(1.2, 0.8)}, HIGH, 0),
        ([0.0] * 5, [54.9, 54.5, 55.1, 55.6, 57.4], {"effects": EffectLimits(1.2, 0.8)}, LOW, 0),
        (
            [0.05] * 5 + [1 / 60] * 3 + [1 / 30, 2 / 15],
            [0.0] * 10,
            {"critical": True, "nan_strategy": REPLACE, "effects": EffectLimits(1, 1, 1.2, 0.8)},
            HIGH,
            True,
        ),
        ([0.0] * 5, [0.0] * 5, {"effects": EffectLimits(1.2, 0.8)}, PASS, False),
    ],
)
def test_published_verdicts(canary, baseline, settings, label, critical):
    found = classify(canary, baseline, confidence=0.95, tolerance=0.1, **settings)
    assert found.label is label
    assert found.critical == critical


def test_the_mean_ratio_of_zeros_does_not_exist():
    assert np.isnan(classify([54.9, 54.5, 55.1, 55.6, 57.4], [0.0] * 5).mean_ratio)
    assert classify(*FIVES).mean_ratio == pytest.approx(118 / 9.8)


def test_data_that_a_metric_must_have():
    # MannWhitneyClassifier.scala, classify: only where that is not critical anyway.
    assert classify([], [1.0], must_have_data=True).label is Label.NODATA_FAIL
    assert classify([], [1.0], must_have_data=True, critical=True).label is NODATA
    assert classify([NAN], [1.0], must_have_data=True, nan_strategy=REPLACE).label is not NODATA


def test_the_published_interval():
    # MannWhitneySuite.scala, its unit vector.
    shift = mann_whitney([10.0, 20, 30, 40], [1.0, 2, 3, 4], 0.95)
    assert shift.low == pytest.approx(6.0, abs=1e-6)
    assert shift.high == pytest.approx(39.0, abs=1e-6)
    assert shift.estimate == pytest.approx(22.5, abs=1e-4)


@pytest.mark.parametrize("arms", [(TEN, TEN_TOO), (TWENTY, TEN_TOO), (TEN, TWENTY_TOO)])
def test_an_interval_ends_where_the_rank_sum_crosses_its_quantiles(arms):
    shift, quantile = mann_whitney(*arms, 0.98), norm.ppf(0.99)  # pyright: ignore[reportCallIssue]
    for end, crossed in ((shift.low, quantile), (shift.high, -quantile), (shift.estimate, 0)):
        below, above = (standardized_rank_sum(end + off, *arms) for off in (-0.01, 0.01))
        assert below >= crossed >= above


def test_all_points_tie():
    with pytest.raises(ValueError, match="tie"):
        mann_whitney([5.0], [0.0, 0.0], 0.98)
    # MannWhitney.scala throws there, and the judge makes that an error.
    assert classify([5.0], [0.0, 0.0]).label is Label.ERROR


MONITORED = np.full(25, NAN)
MONITORED[::5] = [1, 2, 1, 2, 1]
HTTP_307 = [NAN, 0.048, NAN, 0.18, 0.089, NAN, 0.098, 0.035, NAN, NAN]


@pytest.mark.parametrize(
    ("canary", "baseline", "settings", "label", "low", "high", "estimate"),
    [
        # What users of Kayenta reported. The interval of the first is in the reporter's log:
        # a comment on spinnaker/spinnaker#6278 and kayenta#780.
        (
            [100.0] * 7 + [1.0] * 3,
            [1.0] * 10,
            {},
            PASS,
            6.825022991538781e-5,
            99,
            98.99992904170193,
        ),
        ([100.0] * 8 + [1.0] * 2, [1.0] * 10, {}, HIGH, None, None, None),
        (
            [10, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7],
            [1, 100, 4, 101, 5, 102, 6, 103, 7, 104, 8, 105, 9, 106, 17],
            {},
            PASS,
            -88.4,
            8.7,
            -1.78,
        ),
        ([0.0, 1, 2, 1, 0, 0], [0.0] * 6, {}, PASS, 0, 2, 0.81),  # kayenta#426
        (MONITORED, np.full(25, NAN), {"nan_strategy": REPLACE}, PASS, 0, 6.6e-5, 0),  # kayenta#799
        (MONITORED, np.full(25, NAN), {}, NODATA, None, None, None),
        ([1.0, 4, 2, 3, 1], [0.0] * 5, {}, HIGH, 1, 4, 2),
        # spinnaker/spinnaker#5622
        (
            HTTP_307,
            np.full(10, NAN),
            {"nan_strategy": REPLACE, "direction": INCREASE},
            PASS,
            0,
            0.089,
            0.022,
        ),
    ],
)
def test_what_users_reported(canary, baseline, settings, label, low, high, estimate):
    found = classify(canary, baseline, **settings)
    assert found.label is label
    if low is not None:
        assert found.shift is not None
        assert found.shift.low == pytest.approx(low, abs=1e-4)
        assert found.shift.high == pytest.approx(high, abs=1e-4)
        assert found.shift.estimate == pytest.approx(estimate, abs=5e-3)


def test_the_log_of_a_reporter_to_the_last_digit():
    shift = classify([100.0] * 7 + [1.0] * 3, [1.0] * 10).shift
    assert shift is not None
    assert shift.low == pytest.approx(6.825022991538781e-5, rel=1e-12)
    assert shift.estimate == pytest.approx(98.99992904170193, rel=1e-12)


@pytest.mark.parametrize(
    ("points", "outliers"),
    [
        # DetectorSuite.scala, interquartile range, factor 1.5
        ([21.0, 23, 24, 25, 50, 29, 23, 21], [50.0]),
        ([1.0, 1, 1, 5, -1, -1, -1, -5], [5.0, -5]),
        # IQRDetector.scala: what a tenth of the points have is none, even if the quartiles are 0.
        ([0.0] * 90 + [5.0] * 10, []),
    ],
)
def test_outliers(points, outliers):
    kept = without_outliers(np.array(points), 1.5)
    assert kept.tolist() == [point for point in points if point not in outliers]


def test_outliers_can_decide():
    canary = [*TEN, 5000.0]
    assert classify(canary, TEN_TOO).mean_ratio > 10
    assert classify(canary, TEN_TOO, outlier_factor=3).mean_ratio < 1.1


def test_the_interval_has_to_keep_away_from_zero():
    more = [10.6, 10.1, 10.5, 10.7, 11.2, 9.8, 12.2, 11.3]
    less = [10.4, 9.4, 10.7, 9.2, 9.5, 9.6, 9.4, 8.3]
    # The shift is 0.2 to 2.3, with 1.2 as its estimate: 0.2 is less than a quarter of it.
    assert classify(more, less).label is PASS
    assert classify(less, more).label is PASS
    assert classify(more, less, tolerance=0.16).label is HIGH
    assert classify(less, more, tolerance=0.16).label is LOW


def test_a_shift_with_a_lower_mean_is_no_increase():
    stable = Counts.of([10] * 19 + [800], [1000] * 20)
    candidate = Counts.of([3] * 10 + [4] * 10, [100] * 20)
    assert kayenta(stable, candidate, every=20).passed_at == 19
    series = [100 * counts.bad / counts.total for counts in (candidate, stable)]
    found = classify(*series)
    assert found.shift is not None
    assert found.shift.low > 0.25 * found.shift.estimate
    assert found.mean_ratio < 1
    assert found.label is PASS
    assert classify(*series, effects=EffectLimits(allowed_increase=0.5)).label is HIGH


GOOD, TOO_HIGH, TOO_LOW = (Classification(label) for label in (PASS, HIGH, LOW))
MISSING = Classification(NODATA)


@pytest.mark.parametrize(
    ("groups", "weights", "expected"),
    [
        # ScorerSuite.scala
        ({"a": [GOOD]}, None, 100.0),
        ({"a": [TOO_HIGH]}, None, 0.0),
        ({"a": [MISSING]}, None, 0.0),
        ({"a": [GOOD, GOOD], "b": [MISSING]}, None, 100.0),
        ({"a": [GOOD, TOO_HIGH]}, None, 50.0),
        ({"a": [GOOD, TOO_HIGH, TOO_LOW]}, None, 33.33),
        ({"a": [GOOD, GOOD], "b": [TOO_HIGH]}, {"a": 75, "b": 25}, 75.0),
        ({"a": [GOOD, TOO_HIGH], "b": [TOO_HIGH]}, {"a": 50, "b": 50}, 25.0),
        ({"a": [GOOD, MISSING], "b": [TOO_HIGH]}, {"a": 50, "b": 50}, 50.0),
        ({"a": [GOOD, Classification(HIGH, critical=True)]}, None, 0.0),
        ({"a": [TOO_LOW, Classification(PASS, critical=True)]}, None, 50.0),
        ({"a": [GOOD, Classification(NODATA, critical=True)]}, None, 0.0),
        (
            {"a": [TOO_HIGH, TOO_LOW, GOOD], "b": [TOO_HIGH]},
            {"a": 15, "b": 85},
            5.0,
        ),
        # WeightedSumScorer.scala: what is left is shared; errors do not count, missing data may.
        ({"a": [GOOD], "b": [GOOD], "c": [TOO_LOW]}, {"a": 40}, 70.0),
        ({"a": [GOOD, Classification(Label.ERROR), TOO_LOW]}, None, 50.0),
        ({"a": [GOOD, Classification(Label.NODATA_FAIL)]}, None, 50.0),
        ({"a": [GOOD, MISSING]}, None, 0.0),
    ],
)
def test_score(groups, weights, expected):
    assert score(groups, weights) == expected


def draw(rate: float, requests: int, shape: tuple[int, ...], seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    total = rng.choice([NAN, 0.0, requests], p=[0.15, 0.05, 0.8], size=shape)
    bad = np.where(total > 0, rng.binomial(requests, rate, shape), total)
    return Counts(bad, total)


@pytest.mark.parametrize("strategy", NanStrategy)
@pytest.mark.parametrize("every", [1, 4])
def test_many_at_once_agree_with_one_look_at_a_time(strategy, every):
    shape = (2, 20, 10)
    stable, candidate = draw(0.02, 400, shape, 1), draw(0.03, 50, shape, 2)
    reaction = kayenta(stable, candidate, every=every, nan_strategy=strategy)
    looks = [*range(every - 1, 9, every), 9]

    def series(counts: Counts, rollout: tuple[int, ...], look: int) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return 100 * (counts.bad[rollout] / counts.total[rollout])[: look + 1]

    for rollout in np.ndindex(shape[:-1]):
        stopped = [
            look
            for look in looks
            if classify(
                series(candidate, rollout, look),
                series(stable, rollout, look),
                direction=INCREASE,
                nan_strategy=strategy,
            ).label
            in {HIGH, NODATA}
        ]
        assert reaction.reverted_at[rollout] == (stopped[0] if stopped else np.inf)
        assert reaction.passed_at[rollout] == (np.inf if stopped else 9)
    assert 0 < np.isfinite(reaction.reverted_at).mean() < 1


def test_an_arm_without_data_stops_the_analysis():
    none, some = Counts.of([NAN] * 3, [NAN] * 3), Counts.of([1, 2, 3], [100] * 3)
    assert kayenta(some, none).reverted_at == 0
    assert kayenta(some, none, nan_strategy=REPLACE).passed_at == 2


@pytest.mark.parametrize(
    ("rate", "points", "share"),
    [
        # shared/rollout-anchors.md, part 4: about 350 repetitions, 50 requests per point; stable
        # has .5%, and none where the candidate has 1%.
        (0.005, 10, 0.0),
        (0.005, 60, 0.0),
        (0.03, 10, 0.20),
        (0.03, 30, 0.68),
        (0.03, 60, 0.90),
        (0.01, 10, 0.007),
        (0.01, 60, 0.17),
    ],
)
def test_share_found_high_at_one_look(rate, points, share):
    rng = np.random.default_rng(6)
    rollouts = 400
    shape = (rollouts, points)
    total = np.full(shape, 50.0)
    stable = rng.binomial(50, 0.0 if rate == 0.01 else 0.005, shape).astype(float)
    candidate = rng.binomial(50, rate, shape).astype(float)
    reaction = kayenta(Counts(stable, total), Counts(candidate, total), every=points)
    error = np.sqrt(max(share * (1 - share), 0.004) * (1 / 350 + 1 / rollouts))
    assert np.isfinite(reaction.reverted_at).mean() == pytest.approx(share, abs=4 * error)


def test_looks_at_few_points_revert_healthy_candidates():
    # With complete separation of n points each, which n! n! / (2 n)! of equal arms have, the
    # interval ends at the smallest difference. At five points its quantile is in reach.
    rng = np.random.default_rng(7)
    rollouts = 3000
    for points, separated in ((2, 1 / 6), (3, 1 / 20)):
        bad = rng.integers(0, 1_000_000, (2, rollouts, points)).astype(float)
        total = np.full(bad.shape[1:], 1e6)
        reaction = kayenta(Counts(bad[0], total), Counts(bad[1], total), every=points)
        share = np.isfinite(reaction.reverted_at).mean()
        assert 0.3 * separated < share < separated + 3 * np.sqrt(separated / rollouts)
